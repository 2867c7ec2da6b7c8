"""What the guard takes for a false negative."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pyserini_tasb.data.false_negatives import (
    PassageDigests,
    QueryItself,
    same_texts,
    share_of_words,
    text_digest,
    too_close,
)
from pyserini_tasb.formats.arrays import Spans
from pyserini_tasb.formats.text_store import ListedTexts, write_text_store

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


def found_in(folder, queries, passages):
    """Every (qid, docid) of which the passage is found to be the query."""
    stores = [write_text_store(folder / name, texts.items()) for name, texts in (("q", queries), ("p", passages))]
    ours, theirs = (grid.ravel() for grid in np.meshgrid(*(np.arange(len(store)) for store in stores), indexing="ij"))
    found = QueryItself(*stores).found(ours, theirs)
    return set(zip(stores[0].ids(ours[found]), stores[1].ids(theirs[found]), strict=True))


def test_the_query_itself_has_its_text_or_its_id_and_its_words(tmp_path):
    argument = "school uniforms should be abolished because they restrict what pupils express"
    queries = {"a": argument, "b": "Quick  sort", "1": "heat conduction in composite slabs", "é": "Été à Paris"}
    passages = {
        "a": f"Uniforms! {argument.upper()}. That is all.",  # a title before it
        "other": f"Uniforms! {argument}. That is all.",
        "copy": argument,
        "b": "merge sort",
        "c": " quick\tSORT",
        "1": "heat conduction along a wing in a slipstream",
        "é": "ÉTÉ  à paris",
    }
    assert found_in(tmp_path, queries, passages) == {("a", "a"), ("a", "copy"), ("b", "c"), ("é", "é")}


def test_numbers_that_queries_and_documents_share_say_nothing(tmp_path):
    # As in Cranfield, CISI, Vaswani and Medline: both are numbered from 1.
    subjects = ["flow past a wing", "heated slabs", "supersonic wakes", "buckling of thin shells", "shock waves"]
    queries = {str(n): f"what is known about {subject}" for n, subject in enumerate(subjects, 1)}
    passages = {str(n): f"a study of {subject} is described and what is known is given" for n, subject in
                enumerate(subjects[1:] + subjects[:1], 1)}  # fmt: skip
    assert max(share_of_words(queries[n], passages[n]) for n in queries) > 0.3
    assert found_in(tmp_path, queries, passages) == set()


def test_the_share_of_words_at_nine_in_ten():
    words = [f"word{number}" for number in range(10)]
    query, others = " ".join(words), "and more of them"
    assert share_of_words(query, f"{' '.join(words[1:])}, {others}") == 0.9
    assert share_of_words(query, " ".join(words[2:])) == 0.8
    assert share_of_words("Word word WORD.", "the word!") == 1
    assert share_of_words("北京大学", "大学在北京") == 1
    assert share_of_words("?!", "?!") == 0


SPACES_AND_LETTERS = st.text(st.sampled_from("aAbBsSß\u017fKKéÉ\u0130i\u0307 \t\xa0\u3000"), max_size=8)


@given(st.lists(st.tuples(SPACES_AND_LETTERS, SPACES_AND_LETTERS), max_size=8))
def test_texts_are_compared_as_digests_are(pairs):
    columns = [Spans.of([pair[side].encode() for pair in pairs]) for side in (0, 1)]
    expected = [text_digest(one) == text_digest(other) for one, other in pairs]
    assert same_texts(*columns).tolist() == expected
