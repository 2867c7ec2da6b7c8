"""Topics, judgments and runs by name: a path, then what this package bundles, then Pyserini. Or objects in memory."""

from __future__ import annotations

import contextlib
import difflib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pyserini_tasb.environment.java import prepare_java
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.folders import at_home
from pyserini_tasb.formats.qrels import BEIR, QrelsDict, read_qrels
from pyserini_tasb.formats.readers import reader_and_path
from pyserini_tasb.formats.run_files import read_run, read_run_table
from pyserini_tasb.formats.run_table import RunDict, RunTable, without_own_documents
from pyserini_tasb.formats.topics import READERS, Topics, read_topics

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


Kind = Literal["topics", "qrels", "run"]

BUNDLED_SUFFIX: dict[Kind, str] = {"topics": ".tsv.gz", "qrels": ".txt.gz", "run": ".top100.txt.gz"}
# Pyserini's other names for the same; it calls the topics of 2020 `dl20` and their qrels `dl20-passage`.
ALIASES = {
    "dl20": "dl20-passage",
    "msmarco-passage-dev": "msmarco-passage-dev-subset",
    "msmarco-passage.dev": "msmarco-passage-dev-subset",
    "msmarco-passage.dev-subset": "msmarco-passage-dev-subset",
    "msmarco-v1-passage-dev": "msmarco-passage-dev-subset",
    "msmarco-v1-passage.dev": "msmarco-passage-dev-subset",
}
FILE_SUFFIXES = (
    *(".csv", ".json", ".jsonl", ".qrels", ".run", ".trec", ".tsv", ".txt"),
    *(".bz2", ".gz", ".xz", ".zip", ".zst"),
)


def bundled_files(kind: Kind) -> dict[str, Path]:
    """The files of one kind that this package ships, by the name a user types."""
    from pyserini_tasb.recipes.lookup import own_folder  # brings pydantic, which takes a while

    suffix = BUNDLED_SUFFIX[kind]
    paths = sorted((own_folder("regressions") / "data").glob(f"{kind}.*{suffix}"))
    return {path.name.removeprefix(f"{kind}.").removesuffix(suffix): path for path in paths}


def canonical_name(name: str) -> str:
    """The bundled name behind Pyserini's other names; any other name as it is."""
    return ALIASES.get(name, name)


def load_topics(name: str | Path) -> Topics:
    """Queries by id: from a TSV or JSONL file, a bundled set (`dl19-passage`), Pyserini's titles, or `READER:PATH`.

    Pyserini makes a number of an all-digit id, so that `007` comes back as `7`; files and bundled sets do not.

    Raises:
        TasbError: nothing by that name or path, or a faulty file.
    """
    if named := reader_and_path(READERS, name):
        return READERS[named[0]](named[1])
    path = _local_file("topics", name)
    return read_topics(path) if path else _pyserini_topics(str(name))


AnyTopics: TypeAlias = "str | os.PathLike[str] | Mapping[str, str] | Any"
"""Topics' name or path, qid → text, or a data frame with the columns `qid` and `query` (PyTerrier's) or `text`."""
AnyQrels: TypeAlias = "str | os.PathLike[str] | Mapping[str, Mapping[str, int]] | Any"
"""Judgments' name or path, qid → docid → grade, or a data frame with columns of `QRELS_COLUMNS`."""

QRELS_COLUMNS = {
    "pyterrier": ("qid", "docno", "label"),
    "ranx": ("q_id", "doc_id", "score"),
    "ir-measures": ("query_id", "doc_id", "relevance"),
    "beir": BEIR,
}


class Qrels(dict[str, dict[str, int]]):
    """Relevance judgments: qid → docid → grade.

    Args:
        judgments: the judgments as such a mapping. Ids that are not strings become strings.
        name: the judgments' name in tables and errors.
    """

    def __init__(self, judgments: Mapping[str, Mapping[str, int]], *, name: str = "qrels") -> None:
        self.name = name
        super().__init__(
            (str(qid), {str(docid): int(grade) for docid, grade in judged.items()}) for qid, judged in judgments.items()
        )

    @classmethod
    def read(cls, source: str | os.PathLike[str]) -> Qrels:
        """The judgments in a file of TREC's or BEIR's, a bundled set (`dl19-passage`), or Pyserini's.

        Raises:
            TasbError: nothing has that name or path, or lines of the file are faulty.
        """
        return cls(load_qrels(source if isinstance(source, str) else Path(source)), name=str(source))

    @classmethod
    def from_pandas(cls, frame: Any, *, name: str = "qrels") -> Qrels:
        """The judgments in a data frame with PyTerrier's, ranx's, ir-measures' or BEIR's names of columns.

        Raises:
            TasbError: the frame has other columns, or gives a document two grades for one query.
        """
        known = [names for names in QRELS_COLUMNS.values() if set(names) <= set(getattr(frame, "columns", ()))]
        if not known:
            raise TasbError(
                expected=f"judgments for {argument('qrels')}: a name, a path, qid → docid → grade, or a frame with "
                + " or ".join(f"`{' '.join(names)}`" for names in QRELS_COLUMNS.values()),
                found=f"columns {' '.join(map(str, frame.columns))}"
                if hasattr(frame, "columns")
                else type(frame).__name__,
                do="pass one of these",
            )
        judgments: QrelsDict = {}
        for qid, docid, grade in frame[[*known[0]]].itertuples(index=False, name=None):
            if judgments.setdefault(str(qid), {}).setdefault(str(docid), int(grade)) != grade:
                raise TasbError(
                    where=name,
                    expected="one grade for a query and a document",
                    found=f"query {qid}, document {docid} has two",
                    do="remove one of the rows",
                )
        return cls(judgments, name=name)

    def to_pandas(self, columns: Literal["pyterrier", "ranx", "ir-measures", "beir"] = "pyterrier") -> Any:
        """A data frame with a row for each judgment.

        Args:
            columns: the names of the columns: PyTerrier's `qid docno label`, ranx's `q_id doc_id score`, ir-measures'
                `query_id doc_id relevance`, or BEIR's `query-id corpus-id score`.
        """
        import pandas as pd

        rows = [(qid, docid, grade) for qid, judged in self.items() for docid, grade in judged.items()]
        return pd.DataFrame(rows, columns=list(QRELS_COLUMNS[columns]))

    def __repr__(self) -> str:
        return f"Qrels({self.name!r}, {len(self):,} queries, {sum(map(len, self.values())):,} judgments)"


def as_topics(given: AnyTopics) -> Topics:
    """Topics, whatever a researcher has in hand.

    Raises:
        TasbError: it is nothing of that kind, or nothing has that name or path, or it is faulty.
    """
    if isinstance(given, str) or hasattr(given, "__fspath__"):
        return load_topics(given if isinstance(given, str) else Path(given))
    if isinstance(given, Mapping):
        return {str(qid): text for qid, text in given.items()}
    text = next((name for name in ("query", "text") if name in getattr(given, "columns", ())), None)
    if text is None or "qid" not in given.columns:
        raise TasbError(
            expected=f"topics for {argument('topics')}: a name, a path, qid → text, or a data frame with `qid` and "
            "`query`",
            found=type(given).__name__,
            do="pass one of these",
        )
    return {str(qid): text for qid, text in given[["qid", text]].itertuples(index=False, name=None)}


def as_qrels(given: AnyQrels) -> Qrels:
    """Judgments, whatever a researcher has in hand.

    Raises:
        TasbError: it is nothing of that kind, or nothing has that name or path, or it is faulty.
    """
    if isinstance(given, str) or hasattr(given, "__fspath__"):
        return Qrels.read(given)
    if isinstance(given, Qrels):
        return given
    return Qrels(given) if isinstance(given, Mapping) else Qrels.from_pandas(given)


def load_qrels(name: str | Path) -> QrelsDict:
    """Judgments: from a file of TREC's or BEIR's, a bundled set (`dl19-passage`), or Pyserini's.

    Raises:
        TasbError: nothing by that name or path, or a faulty file.
    """
    return read_qrels(_local_file("qrels", name) or _pyserini_qrels_file(str(name)))


def load_run(name: str | Path, *, remove_query: bool = False) -> RunDict:
    """A run: from a TREC file, or a bundled one (`dl19-passage.tasb`).

    Args:
        name: the file's path, or the bundled run's name.
        remove_query: read the file as if it had no line whose docid is the query's id.

    Raises:
        TasbError: nothing by that name or path, or a faulty file.
    """
    run = read_run(run_file(name))
    return {qid: ranking for qid, ranking in without_own_documents(run).items() if ranking} if remove_query else run


def load_run_table(name: str | Path, *, remove_query: bool = False) -> RunTable:
    """A run as columns: from a TREC or MS MARCO file, or a bundled one (`dl19-passage.tasb`).

    Args:
        name: the file's path, or the bundled run's name.
        remove_query: see `read_run_table`.

    Raises:
        TasbError: nothing by that name or path, or a faulty file.
    """
    return read_run_table(run_file(name), remove_query=remove_query)


def run_file(name: str | Path) -> Path:
    """The file of a run: the path itself, or that of a bundled one (`dl19-passage.tasb`).

    Raises:
        TasbError: nothing by that name or path.
    """
    path = _local_file("run", name)
    if path is None:
        raise _not_found("run", str(name), "no such file, and no bundled run of that name")
    return path


def _local_file(kind: Kind, name: str | Path) -> Path | None:
    path = at_home(name)
    if path.exists() and not path.is_dir():
        return path
    bundled = bundled_files(kind).get(canonical_name(str(name)))
    if bundled is None and (isinstance(name, Path) or _looks_like_path(name)):
        raise _not_found(kind, str(name), "a folder" if path.is_dir() else "no such file")
    return bundled


def _looks_like_path(name: str) -> bool:
    return os.sep in name or name.startswith(("~", ".")) or name.endswith(FILE_SUFFIXES)


def _pyserini_topics(name: str) -> Topics:
    try:
        with _printing_to_stderr():
            prepare_java()
            from pyserini.search import get_topics

            titles = {str(qid): fields.get("title") for qid, fields in get_topics(name).items()}
    except Exception as error:  # Java, the network and Pyserini each raise their own
        raise _not_found("topics", name, _said_pyserini(error)) from error
    without = [qid for qid, title in titles.items() if not title]
    if without or not titles:
        found = f"Pyserini's topics have no title for {len(without)} of {len(titles)} queries"
        raise _not_found("topics", name, found)
    return {qid: str(title) for qid, title in titles.items()}


def _pyserini_qrels_file(name: str) -> Path:
    try:
        with _printing_to_stderr():
            prepare_java()
            from pyserini.search import get_qrels_file

            return Path(get_qrels_file(name))
    except Exception as error:  # as above
        raise _not_found("qrels", name, _said_pyserini(error)) from error


@contextlib.contextmanager
def _printing_to_stderr() -> Iterator[None]:
    """Send to stderr what Java prints (`Downloading …`), which would stand in the middle of a command's JSON."""
    sys.stdout.flush()
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)


def _said_pyserini(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"not bundled, and Pyserini says {type(error).__name__}: {lines[0] if lines else 'nothing more'}"


def _not_found(kind: Kind, name: str, found: str) -> TasbError:
    bundled = list(bundled_files(kind))
    close = difflib.get_close_matches(name, bundled, n=1, cutoff=0.5)
    return TasbError(
        where=f"{kind} `{name}`",
        expected=f"a file, or a bundled name ({', '.join(bundled)})"
        + ("" if kind == "run" else ", or a name Pyserini knows"),
        found=found,
        do=f"did you mean `{close[0]}`? Otherwise give the path of a file" if close else "give the path of a file",
    )


def same_ids_advice(ids: Iterable[str], others: Iterable[str], otherwise: str) -> str:
    """The advice where two sources have no query in common.

    Args:
        ids: ids of the queries of one.
        others: ids of the queries of the other.
        otherwise: the advice where nothing better is known.
    """
    # `get_topics`, `get_topics_with_reader` and `get_qrels` of pyserini.search have keys that were made by `int(qid)`.
    numbers = {_as_pyserini(qid): qid for qid in others}
    for qid in ids:
        other = numbers.get(_as_pyserini(qid))
        if other is not None:
            padded, short = (qid, other) if len(qid) > len(other) else (other, qid)
            return f"make the ids equal: stock Pyserini turns the query id `{padded}` into `{short}`"
    return otherwise


def _as_pyserini(qid: str) -> str:
    return (qid.lstrip("0") or "0") if qid.isdigit() else qid
