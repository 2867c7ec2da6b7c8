"""`python -m pyserini_tasb` is `tasb`."""

import sys

from pyserini_tasb.cli.main import main

sys.exit(main())
