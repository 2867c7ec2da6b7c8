"""Let the scripts beside this one import the package and benchmarks/ from the checkout: nothing has to be installed.

Import this before anything of ours. Machines with a GPU often have torch and little else, and no network.
"""

from __future__ import annotations

import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path

STARTED = time.monotonic()  # of the script, before torch is imported, which takes seconds
ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("torch", "transformers", "numpy", "safetensors")
FOLDERS = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "benchmarks" / "gpu")]

sys.path[:] = FOLDERS + [folder for folder in sys.path if folder not in FOLDERS]
# Processes that these scripts start, too.
os.environ["PYTHONPATH"] = os.pathsep.join([*FOLDERS, *filter(None, [os.environ.get("PYTHONPATH")])])
os.environ.setdefault("HF_HUB_OFFLINE", "1")

if missing := [name for name in NEEDED if not find_spec(name)]:
    sys.exit(
        f"{sys.executable} has no {', '.join(missing)}: take another Python (make gpu-check PYTHON=/path/to/python)"
    )
