"""numba would compile for minutes what ranx does to a few hits."""

import os

os.environ.setdefault("NUMBA_DISABLE_JIT", "1")
