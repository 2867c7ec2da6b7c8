"""The text of hits: what a run found for a query, to read in a terminal or a notebook."""

from __future__ import annotations

import difflib
import html
import itertools
import unicodedata
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.formats.fields import Fields
from pyserini_tasb.formats.named import as_qrels, as_topics, same_ids_advice
from pyserini_tasb.formats.passages import read_passages, require_texts, require_topics
from pyserini_tasb.formats.run import as_run
from pyserini_tasb.results import Result

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyserini_tasb.formats.named import AnyQrels, AnyTopics
    from pyserini_tasb.formats.run import AnyRun, Run
    from pyserini_tasb.results import StrPath


EXAMPLES = 3  # of queries, in an error
WIDTH, LEAST_WIDTH = 100, 40
LINES = 2  # of a passage in a terminal
CHARACTERS = 500  # of a passage in a notebook
INDENT = "     "


def show(
    run: AnyRun,
    *,
    topic: str | int | Sequence[str | int],
    corpus: StrPath,
    fields: Sequence[str] = (),
    docid_field: str | None = None,
    hits: int = 10,
    topics: AnyTopics | None = None,
    qrels: AnyQrels | None = None,
) -> HitsWithText:
    """Show queries of a run with the text of their hits.

    Args:
        run: a run, its path or name, qid → docid → score, or a data frame.
        topic: the id of a query, or of several.
        corpus: the passages: TSV, JSONL, a Lucene index that stores texts, or a text store. The last two are asked by
            docid, the others are read to their end.
        fields: the fields of a passage that are its text, joined by spaces; by default `title` and `text`, or
            `contents`. See docs/encode.md.
        docid_field: the field of the docid; by default `id`, `_id` or `docid`.
        hits: how many of each query's documents are shown, the best first.
        topics: a name, a TSV or JSONL file, or qid → text, to show the queries' texts.
        qrels: a name, a file, or qid → docid → grade, to show each document's grade.

    Returns:
        the queries with their hits.

    Raises:
        TasbError: a query that is not in the run or has no topic, a name or path that leads nowhere, a faulty file, or
            a corpus that has none of the documents.

    Example:
        show("bm25.txt", topic=42, corpus="collection.tsv", qrels="dl19-passage")
    """
    found = as_run(run)
    qids = [str(topic)] if isinstance(topic, str | int) else list(map(str, topic))
    _require_queries(qids, found)
    queries = None if topics is None else as_topics(topics)
    if queries is not None:
        require_topics(qids, queries, where=fspath(topics) if isinstance(topics, str | PathLike) else None)
    grades = {} if qrels is None else as_qrels(qrels)
    ranked = {qid: found[qid] for qid in qids}
    docids = dict.fromkeys(docid for ranking in ranked.values() for docid in itertools.islice(ranking, hits))
    passages = read_passages(Path(corpus), docids, Fields.named(fields, docid_field))
    if not passages:
        require_texts(docids, passages, where=fspath(corpus))
    shown = []
    for qid, ranking in ranked.items():
        of_query = [
            Hit(rank, docid, score, passages.get(docid), grades.get(qid, {}).get(docid))
            for rank, (docid, score) in enumerate(itertools.islice(ranking.items(), hits), 1)
        ]
        shown.append(QueryHits(qid, queries[qid] if queries else None, tuple(of_query), len(ranking)))
    return HitsWithText(found.name, tuple(shown), judged=qrels is not None)


@dataclass(frozen=True)
class Hit:
    """A document that a run has for a query.

    Attributes:
        rank: its place, from 1 on.
        docid: its id.
        score: the run's.
        text: its text; None where the corpus has no such document.
        grade: the judges' grade; None where there is none.
    """

    rank: int
    docid: str
    score: float
    text: str | None
    grade: int | None


@dataclass(frozen=True)
class QueryHits:
    """A query with its best hits.

    Attributes:
        qid: its id.
        query: its text; None where no topics were given.
        hits: the best first.
        found: how many the run has.
    """

    qid: str
    query: str | None
    hits: tuple[Hit, ...]
    found: int

    @property
    def title(self) -> str:
        """The query's id, and its text where that is known."""
        return on_one_line(f"query {self.qid}" if self.query is None else f"query {self.qid}: {self.query}")


@dataclass(frozen=True)
class HitsWithText(Result):
    """Queries of a run with the text of their hits.

    Ids and texts are shown without control characters: what somebody wrote into a document cannot move the cursor or
    change what else is read.

    Attributes:
        run: the run's name.
        queries: each with its hits.
        judged: whether grades are shown.
    """

    run: str
    queries: tuple[QueryHits, ...]
    judged: bool = False

    def to_text(self, width: int = WIDTH) -> str:
        """Each hit's rank, docid and score, and below it the first lines of its text.

        Args:
            width: columns of the terminal.
        """
        return "\n\n".join("\n".join(self._lines(query, max(width, LEAST_WIDTH))) for query in self.queries)

    def __repr__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        names = ["rank", "docid", "score", *(["grade"] if self.judged else []), "text"]
        head = f"<tr>{''.join(f'<th>{name}</th>' for name in names)}</tr>"
        tables = []
        for query in self.queries:
            rows = "".join(_html_row(hit, judged=self.judged) for hit in query.hits)
            title = html.escape(f"{query.title} ({self._counted(query)})")
            tables.append(f"<table><caption>{title}</caption>{head}{rows}</table>")
        return "".join(tables)

    def _lines(self, query: QueryHits, width: int) -> Iterator[str]:
        yield from first_lines(query.title, width, LINES)
        yield self._counted(query)
        longest = max((len(on_one_line(hit.docid)) for hit in query.hits), default=0)
        for hit in query.hits:
            grade = f"  {_grade(hit)}" if self.judged else ""
            yield f"{hit.rank:>3}  {on_one_line(hit.docid):<{longest}}  {hit.score:.4f}{grade}"
            yield from (INDENT + line for line in first_lines(_text(hit), width - len(INDENT), LINES))

    def _counted(self, query: QueryHits) -> str:
        return f"{on_one_line(self.run)}: {len(query.hits):,} of {query.found:,} hits"


def _require_queries(qids: Sequence[str], run: Run) -> None:
    for qid in qids:
        if qid not in run:
            close = difflib.get_close_matches(qid, run, n=1)
            raise TasbError(
                where=run.name,
                expected=f"{argument('topic')} of the run: {', '.join(itertools.islice(run, EXAMPLES))}, …",
                found=f"`{qid}`",
                do=f"did you mean `{close[0]}`?"
                if close
                else same_ids_advice([qid], run, "check that run and topic belong together"),
            )


def _grade(hit: Hit) -> str:
    return "not judged" if hit.grade is None else f"grade {hit.grade}"


def _text(hit: Hit) -> str:
    if hit.text is None:
        return "(not in the corpus)"
    return on_one_line(hit.text) or "(no text)"


def _html_row(hit: Hit, *, judged: bool) -> str:
    text = _text(hit)
    cells = [str(hit.rank), on_one_line(hit.docid), f"{hit.score:.4f}", *([_grade(hit)] if judged else [])]
    cells.append(text if len(text) <= CHARACTERS else f"{text[:CHARACTERS]}…")
    return f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>"


JOINERS = "\u200c\u200d"  # invisible, but part of how Persian, Indic scripts and emoji are written


def on_one_line(text: str) -> str:
    """A text in one line, with � for each character that a terminal would obey and not print."""
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
