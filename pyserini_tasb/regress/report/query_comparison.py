"""Conditions of a topic set against each other, query by query."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluate.resolver import bundled_files, canonical_name
from pyserini_tasb.evaluate.significance import paired_tests
from pyserini_tasb.evaluate.topics import read_topics
from pyserini_tasb.regress.report.log_tail import cut
from pyserini_tasb.regress.verdicts import is_count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyserini_tasb.evaluate import PairedTest
    from pyserini_tasb.regress.report.sections import Section

Pair = tuple[int, int]


@dataclass(frozen=True)
class QueryComparison:
    """What can be compared; conditions by their place in the section.

    Args:
        queries: all judged ones, sorted.
        texts: of those, empty where unknown.
        values: measure → condition → a value for each query.
        tests: measure → (condition, later one) → the one against the other; corrected for all pairs of a measure.
    """

    queries: tuple[str, ...]
    texts: tuple[str, ...]
    values: Mapping[str, Mapping[int, tuple[float, ...]]]
    tests: Mapping[str, Mapping[Pair, PairedTest]]


def compare_queries(section: Section, folder: Path) -> QueryComparison | None:
    """Every pair of conditions that were judged on the same queries; None where there is no pair.

    Counts are left out: whether a run has significantly more lines than another is no question.

    Args:
        section: with the conditions.
        folder: of the outputs, where topics may be.
    """
    judged = {place: row.result for place, row in enumerate(section.rows) if row.result.per_query}
    if len(judged) < 2:
        return None
    first = next(iter(judged.values()))
    queries = sorted(next(iter(first.per_query.values())))
    values: dict[str, dict[int, tuple[float, ...]]] = {}
    for place, result in judged.items():
        for measure, by_query in result.per_query.items():
            if sorted(by_query) == queries and not is_count(measure):
                values.setdefault(measure, {})[place] = tuple(by_query[query] for query in queries)
    tests = {
        measure: paired_tests({pair: (of[pair[0]], of[pair[1]]) for pair in combinations(of, 2)})
        for measure, of in values.items()
        if len(of) > 1
    }
    known = _topics(first.topics["topics"], folder)
    return QueryComparison(tuple(queries), tuple(cut(known.get(query, "")) for query in queries), values, tests)


def _topics(name: str, folder: Path) -> dict[str, str]:
    """Texts of queries out of a file; Pyserini is not asked for any, which could start Java and a download."""
    places = (folder / name, Path(name), bundled_files("topics").get(canonical_name(name)))
    path = next((place for place in places if place and place.is_file()), None)
    try:
        return read_topics(path) if path else {}
    except TasbError:  # another format, such as TREC's; the queries go by their ids then
        return {}
