"""What pyproject.toml cannot say: start-up files beside the package, and recipe folders inside the wheel."""

from __future__ import annotations

import base64
import hashlib
import shutil
import zipfile
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

ROOT = Path(__file__).parent
# The .pth serves Python up to 3.17, the .start file (PEP 829) Python 3.15 and later.
STARTUP_FILES = ("pyserini_tasb.pth", "pyserini_tasb.start")
RECIPE_FOLDERS = ("encoders", "fusion", "regressions")


class BuildPyWithStartup(build_py):  # type: ignore[misc]
    """Put the start-up files at the wheel's root and the recipe folders into `pyserini_tasb/_data/`."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # a checkout has its recipe folders; the start-up files are added below
            return
        for source, target in self._extra_files().items():
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)

    def get_outputs(self, include_bytecode: int = 1) -> list[str]:
        extra = [] if self.editable_mode else list(self._extra_files().values())
        return [*super().get_outputs(include_bytecode), *extra]

    def _extra_files(self) -> dict[str, str]:
        built = Path(self.build_lib)
        files = {ROOT / "startup" / name: built / name for name in STARTUP_FILES}
        for folder in RECIPE_FOLDERS:
            for source in sorted((ROOT / folder).rglob("*")):
                if source.is_file() and "__pycache__" not in source.parts:
                    files[source] = built / "pyserini_tasb" / "_data" / source.relative_to(ROOT)
        return {str(source): str(target) for source, target in files.items()}


class EditableWheelWithStartup(editable_wheel):  # type: ignore[misc]
    """Add the start-up files to the editable wheel setuptools made, which holds only its own finder."""

    def run(self) -> None:
        super().run()
        for wheel in Path(self.dist_dir).glob("pyserini_tasb-*.whl"):
            add_to_wheel(wheel, {name: (ROOT / "startup" / name).read_bytes() for name in STARTUP_FILES})


def add_to_wheel(wheel: Path, files: dict[str, bytes]) -> None:
    """Append `files` to `wheel` and to its RECORD, so that `pip uninstall` removes them."""
    with zipfile.ZipFile(wheel) as old:
        entries: list[tuple[Any, bytes]] = [(info, old.read(info)) for info in old.infolist()]
    lines = []
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(data)}\n")
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in files.items():
            new.writestr(name, data)
        for info, data in entries:
            is_record = info.filename.endswith(".dist-info/RECORD")
            new.writestr(info, "".join(lines).encode() + data if is_record else data)


setup(cmdclass={"build_py": BuildPyWithStartup, "editable_wheel": EditableWheelWithStartup})
