"""A pooling, a back end and a scorer of pairs."""

import numpy as np

from pyserini_tasb.models.backends import Torch


def maximum(tokens, mask):
    """The largest number of each dimension."""
    return tokens.float().masked_fill(mask.unsqueeze(-1) == 0, -1e9).amax(dim=1)


class Doubling(Torch):
    """PyTorch, with vectors twice as long."""

    def load(self, card, precision, device):
        model = super().load(card, precision, device)
        once = model.vectors
        model.vectors = lambda ids, mask: 2 * once(ids, mask)
        return model


class SharedWords:
    """The number of words that query and passage share."""

    def __init__(self, request):
        self.named = request.model

    def score_pairs(self, queries, passages, query_rows, passage_rows):
        pairs = zip(queries.texts(query_rows), passages.texts(passage_rows), strict=True)
        return np.array([len({*query.split()} & {*passage.split()}) for query, passage in pairs], np.float32)
