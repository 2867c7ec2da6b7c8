"""A run as an object: documents ranked for queries, to and from files, dictionaries, pandas, Pyserini and ranx."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np

from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.formats.named import load_run_table
from pyserini_tasb.formats.run_files import write_run
from pyserini_tasb.formats.run_table import RunTable
from pyserini_tasb.formats.text_columns import unpack
from pyserini_tasb.registry import require_choice
from pyserini_tasb.tables import html_table

if TYPE_CHECKING:
    import os

    from pyserini_tasb.formats.run_files import RunFormat
    from pyserini_tasb.formats.run_table import RunDict

Columns = Literal["pyserini", "pyterrier", "ranx"]
# The names of query, document, rank and score; PyTerrier counts ranks from 0, ranx has none.
COLUMNS: dict[str, tuple[str, str, str | None, str]] = {
    "pyserini": ("topic", "docid", "rank", "score"),
    "pyterrier": ("qid", "docno", "rank", "score"),
    "ranx": ("q_id", "doc_id", None, "score"),
}
FIRST_RANK = {"pyserini": 1, "pyterrier": 0}
QUERIES_SHOWN, HITS_SHOWN = 3, 5


class Run(Mapping[str, dict[str, float]]):
    """Documents ranked for queries, by score and then docid, both descending, as in trec_eval.

    A run is a mapping qid → docid → score, in rank order. It is stored in arrays: 7 million hits take .4 GB. The
    dictionary of a query is made when you ask for it.

    Args:
        ranking: qid → docid → score, or a table. Ids that are not strings become strings.
        name: the run's name in tables and errors.

    Raises:
        TasbError: an id is empty or has white space or a NUL in it, or a score is not finite. The error names all of
            these.
    """

    def __init__(self, ranking: Mapping[str, Mapping[str, float]] | RunTable, *, name: str = "run") -> None:
        self.name = name
        self.table = ranking if isinstance(ranking, RunTable) else RunTable.from_run(_with_str_ids(ranking), name=name)
        self._numbers = {qid: number for number, qid in enumerate(self.table.qids)}

    def __getitem__(self, qid: str) -> dict[str, float]:
        rows = slice(*self.table.starts[self._numbers[qid] :][:2].tolist())
        docids = [docid.decode() for docid in unpack(self.table.docids[rows]).tolist()]
        return dict(zip(docids, self.table.scores[rows].tolist(), strict=True))

    def __iter__(self) -> Iterator[str]:
        return iter(self.table.qids)

    def __len__(self) -> int:
        return len(self.table.qids)

    @property
    def hits(self) -> int:
        """How many documents are ranked, over all queries."""
        return len(self.table.scores)

    @classmethod
    def read(cls, source: str | os.PathLike[str], *, remove_query: bool = False) -> Run:
        """The run in a file (TREC's six columns or MS MARCO's three, compressed or not), or a bundled one.

        Args:
            source: a path, or a name such as `dl19-passage.tasb`.
            remove_query: read the file as if it had no line whose docid is the query's id.

        Raises:
            TasbError: nothing has that name or path, or lines of the file are faulty.
        """
        name = source if isinstance(source, str) else Path(source)
        return cls(load_run_table(name, remove_query=remove_query), name=str(source))

    @classmethod
    def from_pandas(cls, frame: Any, *, name: str = "run") -> Run:
        """The run in a data frame with Pyserini's, PyTerrier's or ranx's names of columns.

        Raises:
            TasbError: the frame has other columns, lacks an id, or has a document twice for one query; or as for `Run`.
        """
        query, document, _, score = _columns_in(frame)
        rows = frame[[query, document]].astype(str)
        _require_ids(frame[[query, document]].isna().any(axis=1), rows, name)
        if (again := rows.duplicated()).any():
            qid, docid = rows[again].iloc[0]
            raise TasbError(
                where=name,
                expected="each document once for a query",
                found=f"document {docid} a second time for query {qid}",
                do=f"drop it: frame.drop_duplicates(['{query}', '{document}'])",
            )
        numbers, qids = rows[query].factorize()
        order = np.argsort(numbers, kind="stable")
        docids, scores = rows[document].to_numpy()[order].tolist(), frame[score].to_numpy(np.float64)[order]
        return cls(RunTable.from_columns(qids.tolist(), np.bincount(numbers), docids, scores, name=name), name=name)

    @classmethod
    def from_trec_run(cls, trec_run: Any, *, name: str = "run") -> Run:
        """The run in a `pyserini.trectools.TrecRun`; its topics become strings."""
        return cls.from_pandas(trec_run.run_data, name=name)

    @classmethod
    def from_ranx(cls, ranx_run: Any) -> Run:
        """The run in a `ranx.Run`."""
        return cls(ranx_run.to_dict(), name=ranx_run.name or "run")

    def to_dict(self) -> RunDict:
        """Dictionaries qid → docid → score, in rank order."""
        return self.table.to_run()

    def to_pandas(self, columns: Columns = "pyserini") -> Any:
        """A data frame with a row for each hit, in rank order.

        Args:
            columns: the names of the columns: Pyserini's `topic docid rank score`, PyTerrier's `qid docno rank score`
                (ranks from 0) or ranx's `q_id doc_id score`.

        Raises:
            TasbError: `columns` is none of these.
        """
        import pandas as pd

        require_choice("columns", columns, COLUMNS)
        query, document, rank, score = COLUMNS[columns]
        table = self.table
        made = {
            query: np.repeat(np.array(table.qids, dtype=object), table.lengths),
            document: [docid.decode() for docid in unpack(table.docids).tolist()],
        }
        if rank is not None:
            made[rank] = np.arange(self.hits) - np.repeat(table.starts[:-1], table.lengths) + FIRST_RANK[columns]
        return pd.DataFrame({**made, score: table.scores})

    def to_trec_run(self, tag: str = "tasb") -> Any:
        """A `pyserini.trectools.TrecRun`; its topics stay strings."""
        from pyserini.trectools import TrecRun

        frame = self.to_pandas("pyserini")
        rows = frame.assign(q0="Q0", tag=tag)[["topic", "q0", "docid", "rank", "score", "tag"]]
        return TrecRun.from_list([list(row) for row in rows.itertuples(index=False, name=None)])

    def to_ranx(self) -> Any:
        """A `ranx.Run`. The package ranx must be installed. It orders equal scores in its own way."""
        try:
            from ranx import Run as RanxRun
        except ModuleNotFoundError as error:
            raise TasbError(expected="the package ranx", found=str(error), do="pip install ranx") from error
        return RanxRun(self.to_dict(), name=self.name)

    def write(self, path: str | os.PathLike[str], *, output_format: RunFormat = "trec", tag: str = "tasb") -> None:
        """Write the run into a file, compressed with gzip if named `….gz`. A file that exists is replaced at the end.

        Args:
            path: the file. Its folder must exist.
            output_format: `trec`, or `msmarco`, which has neither scores nor a tag.
            tag: the last column of TREC's format.

        Raises:
            TasbError: the tag is not one word, the run is empty, or the file cannot be written.
        """
        write_run(Path(path), self.table.blocks(), tag, output_format=output_format)

    def __repr__(self) -> str:
        return f"Run({self.name!r}, {len(self):,} queries, {self.hits:,} hits)"

    def _repr_html_(self) -> str:
        rows = [
            [qid, str(rank), docid, f"{score:.4f}"]
            for qid in self.table.qids[:QUERIES_SHOWN]
            for rank, (docid, score) in enumerate(list(self[qid].items())[:HITS_SHOWN], 1)
        ]
        return f"<p>{html.escape(repr(self))}</p>{html_table(['query', 'rank', 'document', 'score'], rows)}"


AnyRun: TypeAlias = "Run | Mapping[str, Mapping[str, float]] | str | os.PathLike[str] | Any"
"""A run, a name or path of one, a dictionary, a data frame, a Pyserini TrecRun or a ranx Run."""


def as_run(given: AnyRun, *, name: str | None = None, remove_query: bool = False) -> Run:
    """A run, whatever a researcher has in hand.

    Args:
        given: see `AnyRun`.
        name: what to call it, where it has no name of its own.
        remove_query: true to drop each query's own document, whose docid is the query's id.

    Raises:
        TasbError: it is nothing of that kind, or faulty.
    """
    if isinstance(given, str) or hasattr(given, "__fspath__"):
        run = Run.read(given, remove_query=remove_query)
        run.name = name or run.name
        return run
    run = _in_memory(given, name or "run")
    return Run(run.table.without_own_documents(), name=run.name) if remove_query else run


def _in_memory(given: Any, name: str) -> Run:
    if isinstance(given, Run):
        return given
    if isinstance(given, Mapping):
        return Run(given, name=name)
    if hasattr(given, "run_data"):
        return Run.from_trec_run(given, name=name)
    if hasattr(given, "columns"):
        return Run.from_pandas(given, name=name)
    if hasattr(given, "to_dict"):
        return Run.from_ranx(given)
    raise TasbError(
        expected=f"a run for {argument('runs')}: a path or name, a dictionary qid → docid → score, a data frame, a "
        "TrecRun, or a ranx Run",
        found=f"{type(given).__name__}",
        do="pass one of these",
    )


def named_runs(given: AnyRun | Iterable[AnyRun] | Mapping[str, AnyRun]) -> list[tuple[str, AnyRun]]:
    """One run or several, each with what to call it: its key, its path or name, or its number from 1.

    Args:
        given: name → run, runs in their order, or one run. A mapping is one run if it maps to documents' scores.
    """
    if isinstance(given, Mapping) and not _is_one_run(given):
        return [(str(name), run) for name, run in given.items()]
    is_one = isinstance(given, str | Mapping) or hasattr(given, "columns") or not isinstance(given, Iterable)
    runs: Iterable[Any] = [given] if is_one else cast("Iterable[Any]", given)
    named: list[tuple[str, AnyRun]] = []
    for number, run in enumerate(runs, 1):
        before = next((name for name, other in named if other is run), None)
        is_file = isinstance(run, str) or hasattr(run, "__fspath__")
        name = before or (str(run) if is_file else getattr(run, "name", None) or f"run {number}")
        if before is None and not is_file and name in dict(named):
            name = f"{name} ({number})"
        named.append((name, run))
    return named


def _is_one_run(given: Mapping[str, Any]) -> bool:
    if isinstance(given, Run):
        return True
    first: Any = next((run for run in given.values() if not isinstance(run, Mapping) or run), {})
    return isinstance(first, Mapping) and not any(isinstance(score, Mapping) for score in first.values())


def _with_str_ids(ranking: Mapping[Any, Mapping[Any, float]]) -> Mapping[str, Mapping[str, float]]:
    if all(isinstance(qid, str) and all(isinstance(docid, str) for docid in hits) for qid, hits in ranking.items()):
        return ranking
    return {str(qid): {str(docid): score for docid, score in hits.items()} for qid, hits in ranking.items()}


def _require_ids(is_missing: Any, rows: Any, name: str) -> None:
    if is_missing.any():
        raise TasbError(
            where=name,
            expected="a query and a document in each row",
            found=f"{int(is_missing.sum())} rows without, the first at {rows.index[is_missing][0]}",
            do="drop them: frame.dropna()",
        )


def _columns_in(frame: Any) -> tuple[str, str, str | None, str]:
    for names in COLUMNS.values():
        query, document, _, score = names
        if {query, document, score} <= set(frame.columns):
            return names
    known = "; ".join(" ".join(filter(None, names)) for names in COLUMNS.values())
    raise TasbError(
        expected=f"columns of Pyserini, PyTerrier or ranx: {known}",
        found=" ".join(map(str, frame.columns)) or "no columns",
        do="rename them: frame.rename(columns={…})",
    )
