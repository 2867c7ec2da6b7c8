"""TAS-B for Pyserini: `--encoder tasb` for every command that takes an encoder, and each verb of `tasb` as a function.

    import pyserini_tasb as tasb

    vectors = tasb.encode("documents", encoder="tasb", output="vectors")
    dense = tasb.search(tasb.index(vectors, output="index"), topics="dl19-passage")

This module is imported at every interpreter start (by the start-up hook), so it imports nothing until it is asked.
"""

__version__ = "0.2.0"

# Each public name, and the chapter that it stands in.
_HOME_OF = {
    "Adaptation": "adaptation.adapt",
    "Cacm": "formats.cacm_collection",
    "Clusters": "data.clusters",
    "Comparison": "evaluation.comparison",
    "Export": "encoding.export",
    "Index": "indexes.build",
    "MinedPairs": "data.mining",
    "MsMarco": "data.msmarco",
    "Pairs": "data.pairs",
    "PseudoQueries": "data.pseudo_queries",
    "PushedModel": "training.publishing",
    "Qrels": "formats.named",
    "Registry": "registry",
    "Run": "formats.run",
    "Scores": "data.scoring",
    "StudyResult": "training.study",
    "TasbDocumentEncoder": "encoding.encoders",
    "TasbError": "errors",
    "TasbQueryEncoder": "encoding.encoders",
    "TeachResult": "training.teach",
    "TrainConfig": "training.config",
    "TrainResult": "training.train",
    "ValidationSet": "data.validation_set",
    "Vectors": "encoding.corpus",
    "adapt": "adaptation.adapt",
    "cacm": "formats.cacm_collection",
    "cluster": "data.clusters",
    "doctor": "indexes.check",
    "encode": "encoding.corpus",
    "evaluate": "evaluation.evaluate",
    "expand": "expansion.expand",
    "export": "encoding.export",
    "fuse": "fusion.fuse",
    "hybrid": "retrieval.hybrid",
    "index": "indexes.build",
    "mine": "data.mining",
    "msmarco": "data.msmarco",
    "pairs": "data.pairs",
    "pseudo_queries": "data.pseudo_queries",
    "push_model": "training.publishing",
    "register": "registry",
    "register_encoders": "plugin.startup",
    "regress": "regression.regress",
    "report": "regression.report",
    "rerank": "reranking.rerank",
    "rerank_depths": "reranking.depths",
    "score": "data.scoring",
    "search": "retrieval.search",
    "serve": "retrieval.serve",
    "show": "retrieval.hits",
    "study": "training.study",
    "teach": "training.teach",
    "train": "training.train",
    "trusting": "registry",
    "tune": "fusion.tune",
    "validation_set": "data.validation_building",
}

__all__ = [
    "Adaptation",
    "Cacm",
    "Clusters",
    "Comparison",
    "Export",
    "Index",
    "MinedPairs",
    "MsMarco",
    "Pairs",
    "PseudoQueries",
    "PushedModel",
    "Qrels",
    "Registry",
    "Run",
    "Scores",
    "StudyResult",
    "TasbDocumentEncoder",
    "TasbError",
    "TasbQueryEncoder",
    "TeachResult",
    "TrainConfig",
    "TrainResult",
    "ValidationSet",
    "Vectors",
    "__version__",
    "adapt",
    "cacm",
    "cluster",
    "doctor",
    "encode",
    "evaluate",
    "expand",
    "export",
    "fuse",
    "hybrid",
    "index",
    "mine",
    "msmarco",
    "pairs",
    "pseudo_queries",
    "push_model",
    "register",
    "register_encoders",
    "regress",
    "report",
    "rerank",
    "rerank_depths",
    "score",
    "search",
    "serve",
    "show",
    "study",
    "teach",
    "train",
    "trusting",
    "tune",
    "validation_set",
]

TYPE_CHECKING = False  # typing's own constant would cost its import
if TYPE_CHECKING:
    from pyserini_tasb.adaptation.adapt import Adaptation, adapt
    from pyserini_tasb.data.clusters import Clusters, cluster
    from pyserini_tasb.data.mining import MinedPairs, mine
    from pyserini_tasb.data.msmarco import MsMarco, msmarco
    from pyserini_tasb.data.pairs import Pairs, pairs
    from pyserini_tasb.data.pseudo_queries import PseudoQueries, pseudo_queries
    from pyserini_tasb.data.scoring import Scores, score
    from pyserini_tasb.data.validation_building import validation_set
    from pyserini_tasb.data.validation_set import ValidationSet
    from pyserini_tasb.encoding.corpus import Vectors, encode
    from pyserini_tasb.encoding.encoders import TasbDocumentEncoder, TasbQueryEncoder
    from pyserini_tasb.encoding.export import Export, export
    from pyserini_tasb.errors import TasbError
    from pyserini_tasb.evaluation.comparison import Comparison
    from pyserini_tasb.evaluation.evaluate import evaluate
    from pyserini_tasb.expansion.expand import expand
    from pyserini_tasb.formats.cacm_collection import Cacm, cacm
    from pyserini_tasb.formats.named import Qrels
    from pyserini_tasb.formats.run import Run
    from pyserini_tasb.fusion.fuse import fuse
    from pyserini_tasb.fusion.tune import tune
    from pyserini_tasb.indexes.build import Index, index
    from pyserini_tasb.indexes.check import doctor
    from pyserini_tasb.plugin.startup import register_encoders
    from pyserini_tasb.registry import Registry, register, trusting
    from pyserini_tasb.regression.regress import regress
    from pyserini_tasb.regression.report import report
    from pyserini_tasb.reranking.depths import rerank_depths
    from pyserini_tasb.reranking.rerank import rerank
    from pyserini_tasb.retrieval.hits import show
    from pyserini_tasb.retrieval.hybrid import hybrid
    from pyserini_tasb.retrieval.search import search
    from pyserini_tasb.retrieval.serve import serve
    from pyserini_tasb.training.config import TrainConfig
    from pyserini_tasb.training.publishing import PushedModel, push_model
    from pyserini_tasb.training.study import StudyResult, study
    from pyserini_tasb.training.teach import TeachResult, teach
    from pyserini_tasb.training.train import TrainResult, train


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
