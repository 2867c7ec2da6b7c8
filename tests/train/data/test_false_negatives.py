"""What the guard takes for a false negative."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pyserini_tasb.texts.by_index import ListedTexts
from pyserini_tasb.train.data.mining.false_negatives import PassageDigests, too_close
from pyserini_tasb.train.data.text_digest import text_digest

TEXTS = ["Quick sort", "merge sort", " quick\n\nSORT\t", "", "quicksort", "  ", "Straße", "STRASSE"]


class CountingTexts(ListedTexts):
    """Remembers which texts were read."""

    def __init__(self, listed):
        super().__init__(listed)
        self.read = []

    def texts(self, indices):
        self.read += [int(index) for index in indices]
        return super().texts(indices)


def rows(*numbers):
    return np.array(numbers, dtype=np.int64)


def test_same_text_apart_from_space_and_case():
    digests = PassageDigests(ListedTexts(TEXTS))
    assert digests.same_text(rows(0, 1, 2, 4), rows(0)).tolist() == [True, False, True, False]
    assert digests.same_text(rows(1, 2), rows(4, 1)).tolist() == [True, False]
    assert digests.same_text(rows(7), rows(6)).tolist() == [True]
    assert digests.same_text(rows(0, 1), rows()).tolist() == [False, False]
    assert digests.same_text(rows(), rows(0)).tolist() == []


def test_a_text_is_read_once_and_only_if_needed():
    texts = CountingTexts(TEXTS)
    digests = PassageDigests(texts)
    for _ in range(2):
        digests.same_text(rows(2, 2, 1), rows(0))
    assert sorted(texts.read) == [0, 1, 2]


def test_margins_at_the_cutoff():
    positives, negatives = np.array([10, 5], np.float32), np.array([12, 9, 8, 1], np.float32)
    assert too_close(positives, negatives, 2.0).tolist() == [[True, True, True, False], [True, True, True, False]]
    assert too_close(positives, negatives, 0.0).tolist() == [[True, False, False, False], [True, True, True, False]]
    assert too_close(positives, negatives, -4.0).tolist() == [[False] * 4, [True, True, False, False]]


@given(st.text(), st.text())
def test_digests_differ_where_normalised_texts_do(one, other):
    same = " ".join(one.split()).casefold() == " ".join(other.split()).casefold()
    assert (text_digest(one) == text_digest(other)) == same
    assert text_digest(f"  {one}\n") == text_digest(one)
