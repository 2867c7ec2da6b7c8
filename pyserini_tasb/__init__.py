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
    "cluster": "data.clusters",
    "mine": "data.mining",
    "msmarco": "data.msmarco",
    "pairs": "data.pairs",
    "pseudo_queries": "data.pseudo_queries",
    "register": "plugin.startup",
    "score": "data.scoring",
    "search": "retrieval.search",
    "validation_set": "data.validation_building",
}

__all__ = [
    "Run",
    "TasbDocumentEncoder",
    "TasbError",
    "TasbQueryEncoder",
    "__version__",
    "cluster",
    "mine",
    "msmarco",
    "pairs",
    "pseudo_queries",
    "register",
    "score",
    "search",
    "validation_set",
]

TYPE_CHECKING = False  # typing's own constant would cost its import
if TYPE_CHECKING:
    from pyserini_tasb.data.clusters import cluster
    from pyserini_tasb.data.mining import mine
    from pyserini_tasb.data.msmarco import msmarco
    from pyserini_tasb.data.pairs import pairs
    from pyserini_tasb.data.pseudo_queries import pseudo_queries
    from pyserini_tasb.data.scoring import score
    from pyserini_tasb.data.validation_building import validation_set
    from pyserini_tasb.encoding.encoders import TasbDocumentEncoder, TasbQueryEncoder
    from pyserini_tasb.errors import TasbError
    from pyserini_tasb.formats.run import Run
    from pyserini_tasb.plugin.startup import register
    from pyserini_tasb.retrieval.search import search


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
