"""Text to vectors: the two encoder classes that Pyserini (or you) call."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyserini_tasb.encode.document_encoder import TasbDocumentEncoder
    from pyserini_tasb.encode.query_encoder import TasbQueryEncoder

__all__ = ["TasbDocumentEncoder", "TasbQueryEncoder"]

_HOME_OF = {
    "TasbDocumentEncoder": "pyserini_tasb.encode.document_encoder",
    "TasbQueryEncoder": "pyserini_tasb.encode.query_encoder",
}


def __getattr__(name: str) -> object:
    # Not imported here: they bring torch, which whoever only reads or writes vectors does without.
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME_OF[name]), name)
