"""Training batches: which queries and pairs they hold, and composing them ahead of the training loop."""

from pyserini_tasb.train.sampling.batch import TrainingBatch
from pyserini_tasb.train.sampling.draw import Draw, Sampler, ScoredPairs
from pyserini_tasb.train.sampling.loader import Tokenising, training_batches
from pyserini_tasb.train.sampling.strategies import STRATEGIES, build_sampler
from pyserini_tasb.train.sampling.workers import CompositionError

__all__ = [
    "STRATEGIES",
    "CompositionError",
    "Draw",
    "Sampler",
    "ScoredPairs",
    "Tokenising",
    "TrainingBatch",
    "build_sampler",
    "training_batches",
]
