"""Queries with their hits, the hits with their text: as lines of a terminal, and as tables of a notebook."""

from __future__ import annotations

import html
import itertools
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyserini_tasb.results import Result

if TYPE_CHECKING:
    from collections.abc import Iterator


WIDTH, LEAST_WIDTH = 100, 40
LINES = 2  # of a passage in a terminal
CHARACTERS = 500  # of a passage in a notebook
INDENT = "     "


@dataclass(frozen=True)
class Hit:
    """A document that a run has for a query.

    Attributes:
        rank: its place, from 1 on.
        docid: its id.
        score: the run's.
        text: its text; None where the corpus has no such document.
        grade: the judges' grade; None if it is not judged.
        ranks: its rank in each of the runs that are shown, this one included; None where a run lacks it.
        parts: each input's part of the score, in a fused run.
    """

    rank: int
    docid: str
    score: float
    text: str | None
    grade: int | None
    ranks: tuple[int | None, ...] = ()
    parts: tuple[float, ...] = ()


@dataclass(frozen=True)
class RunHits:
    """The best hits that a run has for a query.

    Attributes:
        run: the run's name.
        hits: the best first.
        found: the number of hits in the run.
        value: the value of the measure; None where the query is not judged.
    """

    run: str
    hits: tuple[Hit, ...]
    found: int
    value: float | None = None


@dataclass(frozen=True)
class QueryHits:
    """A query with the best hits of each run.

    Attributes:
        qid: its id.
        query: its text; None where no topics were given.
        runs: the hits of each run.
        overlaps: the rank-biased overlap of every two runs: first and second, first and third, …
    """

    qid: str
    query: str | None
    runs: tuple[RunHits, ...]
    overlaps: tuple[float, ...] = ()

    @property
    def hits(self) -> tuple[Hit, ...]:
        """The hits of the first run."""
        return self.runs[0].hits

    @property
    def found(self) -> int:
        """The number of hits in the first run."""
        return self.runs[0].found

    @property
    def title(self) -> str:
        """The query's id, and its text where that is known."""
        return on_one_line(f"query {self.qid}" if self.query is None else f"query {self.qid}: {self.query}")


@dataclass(frozen=True)
class HitsWithText(Result):
    """Queries with the hits of one run or several, and the text of the hits.

    Ids and texts are shown without control characters, so that a document's text cannot move the cursor or change other
    text.

    Attributes:
        runs: the names of the runs.
        queries: the queries, each with its hits.
        judged: true if grades are shown.
        measure: the measure that compares queries; None if no query is judged.
        relevant: the lowest grade of a relevant document.
        inputs: the names of the runs that the fused run was made of, in the order of `parts`; empty without a fused
            run.
    """

    runs: tuple[str, ...]
    queries: tuple[QueryHits, ...]
    judged: bool = False
    measure: str | None = None
    relevant: int = 1
    inputs: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """The number of topics, runs and documents shown."""
        documents = {hit.docid for query in self.queries for run in query.runs for hit in run.hits}
        numbers = (len(self.queries), "topic"), (len(self.runs), "run"), (len(documents), "document")
        return ", ".join(f"{number:,} {what}{'s' * (number != 1)}" for number, what in numbers)

    def to_text(self, width: int = WIDTH) -> str:
        """Each hit's rank, docid and score, and below it the first lines of its text.

        Args:
            width: columns of the terminal.
        """
        return "\n\n".join("\n".join(self._lines(query, max(width, LEAST_WIDTH))) for query in self.queries)

    def __repr__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        names = ["rank", "docid", "score", *(["grade"] if self.judged else [])]
        names += ["other runs"] * (len(self.runs) > 1) + ["parts"] * bool(self.inputs) + ["text"]
        head = f"<tr>{''.join(f'<th>{name}</th>' for name in names)}</tr>"
        tables = []
        for query in self.queries:
            for run in query.runs:
                rows = "".join(self._html_row(hit, run) for hit in run.hits)
                title = html.escape(f"{query.title} ({_counted(run)})")
                tables.append(f"<table><caption>{title}</caption>{head}{rows}</table>")
        return "".join(tables)

    def _html_row(self, hit: Hit, run: RunHits) -> str:
        text = _text(hit)
        cells = [str(hit.rank), on_one_line(hit.docid), f"{hit.score:.4f}", *([_grade(hit)] if self.judged else [])]
        cells += [self._elsewhere(hit, run)] * (len(self.runs) > 1) + [self._parts(hit)] * bool(self.inputs)
        cells.append(text if len(text) <= CHARACTERS else f"{text[:CHARACTERS]}…")
        return f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>"

    def _lines(self, query: QueryHits, width: int) -> Iterator[str]:
        yield from first_lines(query.title, width, LINES)
        longest = max((len(on_one_line(hit.docid)) for run in query.runs for hit in run.hits), default=0)
        for run in query.runs:
            yield _counted(run)
            for hit in run.hits:
                grade = f"  {_grade(hit)}" if self.judged else ""
                yield f"{hit.rank:>3}  {on_one_line(hit.docid):<{longest}}  {hit.score:.4f}{grade}"
                for about in (self._parts(hit), self._elsewhere(hit, run), _text(hit)):
                    yield from (INDENT + line for line in first_lines(about, width - len(INDENT), LINES))

    def _elsewhere(self, hit: Hit, run: RunHits) -> str:
        """A hit's ranks in the other runs."""
        named = [(on_one_line(name), rank) for name, rank in zip(self.runs, hit.ranks, strict=True) if name != run.run]
        return ", ".join(f"rank {rank} in {name}" if rank else f"not in {name}" for name, rank in named)

    def _parts(self, hit: Hit) -> str:
        """The parts of a hit's score."""
        named = zip(map(on_one_line, self.inputs), hit.parts, strict=False)
        return " + ".join(f"{part:.4f} of {name}" for name, part in named)


def _counted(run: RunHits) -> str:
    return f"{on_one_line(run.run)}: {len(run.hits):,} of {run.found:,} hits"


def _grade(hit: Hit) -> str:
    return "not judged" if hit.grade is None else f"grade {hit.grade}"


def _text(hit: Hit) -> str:
    if hit.text is None:
        return "(not in the corpus)"
    return on_one_line(hit.text) or "(no text)"


JOINERS = "\u200c\u200d"  # invisible, but part of how Persian, Indic scripts and emoji are written


def on_one_line(text: str) -> str:
    """A text in one line, with � for each character that would control a terminal."""
    line = " ".join(text.split())
    return line if line.isprintable() else "".join(c if c.isprintable() or c in JOINERS else "\ufffd" for c in line)


def first_lines(text: str, width: int, count: int) -> list[str]:
    """The first lines of a text, broken at spaces; the last one ends with … where more would follow.

    Args:
        text: one of `on_one_line`.
        width: columns of a line; wide characters, such as Chinese ones, take two.
        count: lines at most.
    """
    lines: list[str] = []
    while text and len(lines) < count:
        end = _fitting(text, width)
        if end < len(text) and len(lines) == count - 1:
            return [*lines, text[: _fitting(text, width - 1)].rstrip() + "…"]
        if end < len(text):
            space = text.rfind(" ", 0, end + 1)
            end = space if space > 0 else end
        lines.append(text[:end].rstrip())
        text = text[end:].lstrip()
    return lines


def _fitting(text: str, width: int) -> int:
    """How many characters take at most so many columns; one at least."""
    taken = itertools.accumulate(map(_columns, text))
    return max(1, sum(1 for _ in itertools.takewhile(lambda columns: columns <= width, taken)))


def _columns(character: str) -> int:
    if unicodedata.combining(character) or character in JOINERS:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
