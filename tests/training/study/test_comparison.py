"""Means, deviations, letters and intervals, against SciPy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pyserini_tasb.training.study_cells import Row
from pyserini_tasb.training.study_config import StudyConfig
from pyserini_tasb.training.study_report import Entry, as_markdown, compare

QUERIES = 40
GENERATOR = np.random.default_rng(5)
BASE = GENERATOR.uniform(0.2, 0.8, QUERIES)


def study(**changes: object) -> StudyConfig:
    task = {"topics": "t", "qrels": "q", "collection": "c"}
    values = {
        "name": "study",
        "output": "out",
        "train": {},
        "axes": {"teachers": {"one": {}, "two": {}}, "sampling": {"random": {}, "tas": {}}},
        "cells": [{"seeds": [1]}],
        "tasks": {"dl19": {**task, "run": "bm25", "depth": 100}, "dl20": task},
        "rows": {"BM25": {"runs": {"dl19": "bm25"}}},
        "letters": {"b": "BM25", "r": {"sampling": "random"}},
    }
    return StudyConfig.model_validate(values | changes)


def row(values: np.ndarray, *, dl20: bool = True) -> Row:
    # In another order in each row, as files may have it.
    order = GENERATOR.permutation(QUERIES)
    by_query = {f"q{number:02}": float(values[number]) for number in order}
    tasks = {"dl19": {"nDCG@10": by_query}}
    return Row(tasks | ({"dl20": {"nDCG@10": by_query}} if dl20 else {}), {}, 0.05)


def entries() -> list[Entry]:
    noise = GENERATOR.normal(0, 0.05, (4, QUERIES))
    return [
        Entry("BM25", None, [row(BASE, dl20=False)]),
        Entry("one+random", ("one", "random"), [row(BASE + noise[0])]),
        Entry("one+tas", ("one", "tas"), [row(BASE + 0.2 + noise[1]), row(BASE + 0.1 + noise[2])]),
        Entry("two+tas", ("two", "tas"), [row(BASE - 0.2 + noise[3])]),
    ]


def test_paired_tests_are_scipys_corrected_together():
    found = entries()
    comparisons = compare(study(), found)
    base = found[0].per_query("dl19", "nDCG@10")
    p = [stats.ttest_rel(entry.per_query("dl19", "nDCG@10"), base).pvalue for entry in found[1:]]
    corrected = dict(zip(np.argsort(p), np.maximum.accumulate(np.minimum(1, np.sort(p) * [3, 2, 1])), strict=True))
    for number, entry in enumerate(found[1:]):
        comparison = comparisons["b", "dl19", "nDCG@10", entry.name]
        assert comparison.test.p_holm == pytest.approx(corrected[number])
        assert comparison.reference == "BM25"
        differences = entry.per_query("dl19", "nDCG@10") - base
        interval = stats.t.interval(0.95, QUERIES - 1, differences.mean(), stats.sem(differences))
        assert comparison.test.interval == pytest.approx(interval)
    # The reference has no DL20; a cell without its reference is compared with nothing.
    assert not [key for key in comparisons if key[:2] == ("b", "dl20")]
    assert {key[3] for key in comparisons if key[0] == "r"} == {"one+tas"}
    assert comparisons["r", "dl20", "nDCG@10", "one+tas"].reference == "one+random"


def test_seeds_are_averaged_by_query():
    entry = entries()[2]
    first, second = (entry.rows[seed].values["dl19"]["nDCG@10"] for seed in (0, 1))
    expected = [(first[qid] + second[qid]) / 2 for qid in sorted(first)]
    assert entry.per_query("dl19", "nDCG@10") == pytest.approx(expected)
    assert entry.by_seed("dl19", "nDCG@10") == pytest.approx([np.mean(list(each.values())) for each in (first, second)])


def test_letters_say_better_and_worse():
    found = entries()
    text = as_markdown(study(), found, compare(study(), found))
    lines = {line.split("|")[1].strip() + line.split("|")[2].strip(): line for line in text.splitlines() if "|" in line}
    assert lines["*BM25*"].split("|")[4:6] == [f" {BASE.mean():.4f} ", " - "]
    by_seed = found[2].by_seed("dl19", "nDCG@10")
    assert f" {by_seed.mean():.4f} ± {by_seed.std(ddof=1):.4f}<sup>br</sup> |" in lines["onetas"]
    assert "<sub>b</sub>" in lines["twotas"]
    assert "<su" not in lines["onerandom"]
    differences = text.partition("## Against b: BM25")[2]
    assert f"| one · tas | **{by_seed.mean() - BASE.mean():+.4f}** ± " in differences
    assert "(p < .001)" in differences
