from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pyserini_tasb.models.tokenizers import batches_by_length

LENGTHS = st.lists(st.integers(min_value=1, max_value=600), max_size=300)


@given(LENGTHS, st.integers(min_value=1, max_value=5000))
def test_batches(lengths, budget):
    batches = [batch.tolist() for batch in batches_by_length(lengths, budget)]
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    in_order = [lengths[position] for batch in batches for position in batch]
    assert in_order == sorted(lengths, reverse=True)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[position] for position in batch) <= budget


@given(LENGTHS, st.integers(min_value=600, max_value=5000))
def test_batches_are_full(lengths, budget):
    batches = list(batches_by_length(lengths, budget))
    for batch in batches[:-1]:
        assert (len(batch) + 1) * lengths[batch[0]] > budget
