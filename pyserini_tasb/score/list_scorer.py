"""What can score a query's passages against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from pyserini_tasb.score.pair_scorer import ScoringOptions


@runtime_checkable
class ListScorer(Protocol):
    """A model whose score of a passage depends on the passages beside it."""

    def score_list(self, query: str, passages: Sequence[str]) -> NDArray[np.float32]:
        """Scores [passages], in fp32.

        Args:
            query: its text.
            passages: texts of all of them.
        """


def load_list_scorer(model: str, aggregation: str, options: ScoringOptions, *, allow_bin: bool = False) -> ListScorer:
    """The duoT5 that a model's name means.

    Args:
        model: a folder or hub id.
        aggregation: a key of `AGGREGATIONS`.
        options: how to compute.
        allow_bin: accept weights in `pytorch_model.bin`, as the authors published them.

    Raises:
        TasbError: no such model, or one that compares nothing.
    """
    from pyserini_tasb.model.headed_checkpoint import CONFIG
    from pyserini_tasb.model.kind import kind_of
    from pyserini_tasb.score.pair_scorer import find_model

    card, folder = find_model(model, allow_bin=allow_bin)
    kind = kind_of(folder, pooling=card.pooling)
    if kind != "seq2seq":
        raise TasbError(
            where=str(folder / CONFIG),
            expected="a duoT5, for --pairwise",
            found=f"a model of the kind `{kind}`",
            do="leave out --pairwise, or name a duoT5",
        )
    from pyserini_tasb.score.duo_t5 import DuoT5Scorer

    return DuoT5Scorer(card, folder, options, aggregation)
