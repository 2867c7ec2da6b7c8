"""`python -m pyserini_tasb` is `tasb`."""

import sys

from pyserini_tasb.cli import main

sys.exit(main())
