"""TAS-B for Pyserini: `--encoder tasb` wherever Pyserini takes an encoder.

This module is imported at every interpreter start (by the start-up hook), so it imports nothing itself.
"""

__version__ = "0.1.0"

__all__ = ["TasbDocumentEncoder", "TasbError", "TasbQueryEncoder", "__version__", "register"]

_HOME_OF = {
    "TasbDocumentEncoder": "pyserini_tasb.encoding.encoders",
    "TasbQueryEncoder": "pyserini_tasb.encoding.encoders",
    "TasbError": "pyserini_tasb.errors",
    "register": "pyserini_tasb.plugin.startup",
}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME_OF[name]), name)
