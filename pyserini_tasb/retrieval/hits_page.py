"""Hits as one HTML page: a list of topics, and the runs side by side. Each text is in it once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyserini_tasb.pages import page_environment, rendered_page
from pyserini_tasb.retrieval.hits_with_text import on_one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyserini_tasb.retrieval.hits_with_text import HitsWithText, QueryHits


CHARACTERS = 2_000  # of a document: whole passages, and the beginning of long documents
SCORE_DIGITS, VALUE_DECIMALS = 7, 6


def as_page(shown: HitsWithText) -> str:
    """The page. What runs, topics and the corpus say is text in it, whatever it contains."""
    data = _data(shown)
    return rendered_page(
        page_environment(__package__),
        "hits",
        data,
        runs=data["runs"],
        measure=shown.measure,
        summary=shown.summary,
        deepest=max((len(run.hits) for query in shown.queries for run in query.runs), default=0),
        characters=CHARACTERS,
    )


def _data(shown: HitsWithText) -> dict[str, Any]:
    """All that the script shows. Documents are numbered, in the order in which they come."""
    texts: dict[str, str | None] = {}
    for query in shown.queries:
        for run in query.runs:
            texts |= {hit.docid: hit.text for hit in run.hits}
    numbers = {docid: number for number, docid in enumerate(texts)}
    return {
        "runs": list(map(on_one_line, shown.runs)),
        "inputs": [shown.runs.index(name) for name in shown.inputs],
        "measure": shown.measure,
        "judged": shown.judged,
        "relevant": shown.relevant,
        "ids": list(map(on_one_line, texts)),
        "texts": [None if text is None else _cut(on_one_line(text)) for text in texts.values()],
        "topics": [_topic(query, numbers) for query in shown.queries],
    }


def _topic(query: QueryHits, numbers: Mapping[str, int]) -> dict[str, Any]:
    hits = {hit.docid: hit for run in query.runs for hit in run.hits}
    return {
        "id": on_one_line(query.qid),
        "text": None if query.query is None else on_one_line(query.query),
        "values": [None if run.value is None else round(run.value, VALUE_DECIMALS) for run in query.runs],
        "overlaps": [round(each, VALUE_DECIMALS) for each in query.overlaps],
        "grades": [[numbers[hit.docid], hit.grade] for hit in hits.values() if hit.grade is not None],
        "runs": [
            {
                "found": run.found,
                "docs": [numbers[hit.docid] for hit in run.hits],
                "scores": [_short(hit.score) for hit in run.hits],
                # Ranks of documents that only other runs have among their first.
                "below": [
                    [numbers[hit.docid], rank]
                    for hit in hits.values()
                    if (rank := hit.ranks[place]) is not None and rank > len(run.hits)
                ],
                "parts": [list(map(_short, hit.parts)) for hit in run.hits]
                if any(hit.parts for hit in run.hits)
                else [],
            }
            for place, run in enumerate(query.runs)
        ],
    }


def _short(value: float) -> float:
    return float(f"{value:.{SCORE_DIGITS}g}")


def _cut(text: str) -> str:
    return text if len(text) <= CHARACTERS else f"{text[:CHARACTERS]}…"
