"""`python -m tests.training.sampling.trainer STORE`: stands in for a training loop that is slower than its workers.

It prints its workers' process ids, then takes a batch now and then.
"""

from __future__ import annotations

import itertools
import multiprocessing
import signal
import sys
import time
from pathlib import Path

from tokenizers import Tokenizer

from pyserini_tasb.data.pair_store import PairStore, open_pair_store
from pyserini_tasb.models.tokenizers import PrefixedTokenizer
from pyserini_tasb.training.batches import BatchComposer, composed_ahead
from pyserini_tasb.training.sampling import build_sampler
from tests.conftest import TINY_MODEL


def composer(store: PairStore) -> BatchComposer:
    """Of batches that fill the connection to a worker quickly: texts are not cut."""
    tokenizer = PrefixedTokenizer(Tokenizer.from_file(str(TINY_MODEL / "tokenizer.json")), prefix="")
    return BatchComposer(store, build_sampler("random", store, batch_size=64, seed=1), tokenizer, tokenizer, 0, 1)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in background jobs of a shell
    endless = composed_ahead(composer(open_pair_store(Path(sys.argv[1]))), itertools.count(), workers=2, ahead=64)
    for batch in endless:
        if batch.step == 1:
            print(*[process.pid for process in multiprocessing.active_children()], flush=True)
        time.sleep(0.1)
