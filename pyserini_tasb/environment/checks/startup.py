"""Is the start-up hook live, so that `python -m pyserini…` knows `--encoder tasb`?"""

from __future__ import annotations

import os
import site
import subprocess
import sys
from pathlib import Path

from pyserini_tasb.environment.finding import Finding, ok, problem, warning

NAME = "start-up hook"
# Of pyserini_tasb.plugin, by name only: the plugin imports this package, not the other way round.
SWITCH = "PYSERINI_TASB_AUTOLOAD"
START_FILE = "pyserini_tasb.pth"
REGISTER = "import pyserini_tasb; pyserini_tasb.register()"
LOOK = """
import sys
names = [f"{type(finder).__module__}.{type(finder).__qualname__}" for finder in sys.meta_path]
sys.exit("pyserini_tasb.plugin.startup.PyseriniFinder" not in names)
"""


def check_startup_hook() -> list[Finding]:
    """Start a Python as a user would and look for our finder."""
    if os.environ.get(SWITCH) == "0":
        return [warning(NAME, f"switched off: {SWITCH}=0", f"unset {SWITCH}")]
    if sys.flags.no_site:
        return [problem(NAME, "this Python runs with -S and reads no start-up files", REGISTER)]
    live = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, timeout=60, check=False).returncode == 0
    if live:
        return [ok(NAME, "live: `python -m pyserini.search.faiss` and its like know `--encoder tasb`")]
    if any(Path(folder, START_FILE).is_file() for folder in _site_folders()):
        return [
            problem(
                NAME, f"{START_FILE} is there but did not run", "pip install --force-reinstall --no-deps pyserini-tasb"
            )
        ]
    package = Path(__file__).parents[2]
    if (package.parent / "pyproject.toml").is_file():
        found = f"not installed: running from the checkout {package.parent}, where only `tasb` works"
        return [problem(NAME, found, f"pip install -e {package.parent}")]
    found = f"{package.parent} is no site-packages folder of this Python, so start-up files in it are not read"
    return [problem(NAME, found, REGISTER)]


def _site_folders() -> list[str]:
    return site.getsitepackages() + ([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])
