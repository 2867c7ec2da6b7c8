"""The packages that an export needs, and its model does not."""

from __future__ import annotations

import importlib.util

from pyserini_tasb.errors import TasbError

PACKAGES = ("onnx", "onnxscript")


def missing_packages() -> list[str]:
    """Those that are not installed."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def require_packages() -> None:
    """Check that an export can be made.

    Raises:
        TasbError: saying what to install.
    """
    missing = missing_packages()
    if missing:
        raise TasbError(
            expected=f"the packages {' and '.join(PACKAGES)}, to export a model",
            found=f"no {' and no '.join(missing)}",
            do="pip install 'pyserini-tasb[onnx]' (the exported model itself does not need them)",
        )
