"""TAS-B for Pyserini: `--encoder tasb` wherever Pyserini takes an encoder, and every verb of `tasb` as a function.

    import pyserini_tasb as tasb

    vectors = tasb.encode("documents", encoder="tasb", output="vectors")
    dense = tasb.search(tasb.index(vectors, output="index"), topics="dl19-passage")

This module is imported at every interpreter start (by the start-up hook), so it imports nothing until it is asked.
"""

__version__ = "0.1.0"

# Each public name, and the chapter that it stands in.
_HOME_OF = {
    "Run": "formats.run",
    "TasbDocumentEncoder": "encoding.encoders",
    "TasbError": "errors",
    "TasbQueryEncoder": "encoding.encoders",
    "expand": "expansion.expand",
    "hybrid": "retrieval.hybrid",
    "register": "plugin.startup",
    "rerank": "reranking.rerank",
    "rerank_depths": "reranking.depths",
    "search": "retrieval.search",
    "show": "retrieval.hits",
}

__all__ = [
    "Run",
    "TasbDocumentEncoder",
    "TasbError",
    "TasbQueryEncoder",
    "__version__",
    "expand",
    "hybrid",
    "register",
    "rerank",
    "rerank_depths",
    "search",
    "show",
]

TYPE_CHECKING = False  # typing's own constant would cost its import
if TYPE_CHECKING:
    from pyserini_tasb.encoding.encoders import TasbDocumentEncoder, TasbQueryEncoder
    from pyserini_tasb.errors import TasbError
    from pyserini_tasb.expansion.expand import expand
    from pyserini_tasb.formats.run import Run
    from pyserini_tasb.plugin.startup import register
    from pyserini_tasb.reranking.depths import rerank_depths
    from pyserini_tasb.reranking.rerank import rerank
    from pyserini_tasb.retrieval.hits import show
    from pyserini_tasb.retrieval.hybrid import hybrid
    from pyserini_tasb.retrieval.search import search


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
