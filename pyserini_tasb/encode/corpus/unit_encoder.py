"""The vectors of one unit: sorted by length, batched by tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.encode.batching import batches_by_length
from pyserini_tasb.encode.corpus.progress import EncodedBatch
from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pyserini_tasb.encode.corpus.job import EncodeJob
    from pyserini_tasb.encode.corpus.progress import Supervisor
    from pyserini_tasb.encode.corpus.tokenised_units import TokenisedUnit
    from pyserini_tasb.encode.text_encoder import TextEncoder


def encode_unit(
    encoder: TextEncoder,
    unit: TokenisedUnit,
    job: EncodeJob,
    supervisor: Supervisor,
) -> NDArray[Any] | None:
    """Vectors [passages, dimension] in corpus order; None if it was stopped.

    Args:
        encoder: the model.
        unit: the passages.
        job: says the precision to compute in, and the type to store in.
        supervisor: is told of every batch, and may stop the work.

    Raises:
        TasbError: a number is not finite in that type.
    """
    vectors = np.empty((len(unit.docids), encoder.dimension), dtype=job.dtype)
    texts = unit.texts()
    # As large as the encoder's own batches, so that each call is one of them.
    budget = encoder.tokens_per_batch(job.precision)
    for batch in batches_by_length(unit.lengths.tolist(), budget):
        if supervisor.stopped():
            return None
        # numpy's integers do for the model, which makes tensors of them.
        batch_texts: list[Any] = [texts[row] for row in batch]
        with np.errstate(over="ignore"):  # refused below
            vectors[batch] = encoder.encode_tokens(batch_texts, precision=job.precision)
        tokens, longest = int(unit.lengths[batch].sum()), int(unit.lengths[batch].max())
        supervisor.report(EncodedBatch(len(batch), tokens, longest * len(batch)))
    not_finite = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(not_finite):
        raise TasbError(
            where=f"passage {unit.docids[not_finite[0]]}",
            expected=f"vectors of finite {job.dtype} numbers",
            found=f"{len(not_finite)} of the unit's {len(unit.docids)} passages have others",
            do="store with --dtype fp32, compute with --precision fp32; if that is no help, the weights are damaged",
        )
    return vectors
