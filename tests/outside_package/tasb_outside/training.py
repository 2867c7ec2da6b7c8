"""Losses, ways to compose batches, a schedule and a teacher."""

from dataclasses import dataclass

import numpy as np
import torch

from pyserini_tasb.training.losses import InBatchScores


def hinge(positives, negatives, margins):
    """A hinge on what the teacher's margin is above the student's."""
    return (margins - (positives - negatives)).clamp(min=0).mean()


class Contrastive:
    """Cross-entropy of a query's own positive among all passages of the batch."""

    def __call__(self, student, teacher, known):
        lists = student.lists().masked_fill(known.lists(), -torch.inf)
        return torch.nn.functional.cross_entropy(lists, torch.arange(student.size))


@dataclass
class HardestPairs:
    """Each query's pair with the smallest margin."""

    pairs: object

    def choose(self, queries, uniforms):
        rows = [np.arange(*self.pairs.offsets[query : query + 2]) for query in queries]
        return np.array([own[self.pairs.margins(own).argmin()] for own in rows])


def hardest(sampling):
    """Queries of few clusters, and of each the pair with the smallest margin."""
    sampling.require_margins()
    return sampling.sampler(sampling.clustered_queries(), HardestPairs(sampling.pairs))


def halves(margins, counts, bins):
    """Two bins: margins below a query's median, and the others."""
    own = np.split(margins, counts.cumsum()[:-1])
    return np.concatenate([part >= np.median(part) for part in own]).astype(np.int64)


def flat(schedule):
    """1 from the first step on."""
    return lambda _step: 1.0


class SharedWords:
    """The number of words that query and passage share."""

    def __init__(self, request):
        self.store, self.device = request.store, request.student.device

    def in_batch(self, batch):
        queries = self.store.queries.texts(batch.queries)
        positives, negatives = (self.store.passages.texts(side) for side in (batch.positives, batch.negatives))
        return InBatchScores(self._table(queries, positives), self._table(queries, negatives))

    def margins(self, queries, positives, negatives):
        return (self._table(queries, positives) - self._table(queries, negatives)).diagonal()

    def _table(self, queries, passages):
        shared = [[len({*query.split()} & {*passage.split()}) for passage in passages] for query in queries]
        return torch.tensor(shared, dtype=torch.float32, device=self.device)
