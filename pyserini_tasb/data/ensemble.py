"""An ensemble of teachers: the mean of their scores of each query and passage (Hofstätter et al., arXiv 2010.02666)."""

from __future__ import annotations

import math
import operator
import zlib
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.data.pair_store import Agreement
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.lines import FAULTS_SHOWN, LineFaults, open_lines, require_utf8
from pyserini_tasb.outputs import new_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray


BYTES_AT_ONCE = 2**24  # of one file's text; some 20 times as much in memory
MOST_PARTS = 256  # open at the same time
GZIP_RATIO = 4
LINES_AT_ONCE = 65_536


@dataclass(frozen=True)
class EnsembleReport:
    """Counts of what was averaged.

    Attributes:
        pairs: lines written.
        scores: distinct (query, passage) among them.
        unused: (query, passage) with a score in another file but not in the first; they are not written.
        agreements: the agreement of each file's scores with the labels, and last that of the means.
    """

    pairs: int
    scores: int
    unused: int
    agreements: tuple[Agreement, ...] = field(default=(), compare=False)


def write_ensemble(
    files: Sequence[Path],
    path: Path,
    *,
    overwrite: bool = False,
    bytes_at_once: int = BYTES_AT_ONCE,
    check: Callable[[Path, Agreement], None] | None = None,
) -> EnsembleReport:
    """Write the first file's pairs, in its order, with the mean over all files of each score.

    A score belongs to a query and a passage: where a file has several for the same two, its last one counts, in every
    pair. The files' order changes nothing but the pairs that are written. Files larger than memory are split by
    query into parts beside `path`, which takes as much disk as the files and 16 bytes a pair.

    Args:
        files: two or more scored-pairs files, `pos_score qid …` in five columns separated by tabs, plain or gzip.
        path: a new file; `-` is standard output.
        overwrite: replace a file at `path`, once the new one is complete.
        bytes_at_once: the most bytes of one file's text in memory.
        check: called before `path` exists, with each file (and with `path`) and the agreement of its scores with the
            labels; may raise an error. The mean of several teachers hides one whose columns are swapped.

    Raises:
        TasbError: fewer than two files, or one twice; faulty lines, all of which are named; a score that a file
            lacks; the disk refuses. Whatever stood at `path` before is still there.
    """
    from tqdm.auto import tqdm

    _require_several(files)
    with (
        new_file(path, overwrite=overwrite, inputs=files) as new,
        new.folder_beside("parts") as work,
        new.opened_as_text() as out,
    ):
        parts = _count_parts(files, bytes_at_once)
        pairs, *_ = [_split(file, work, number, parts) for number, file in enumerate(files)]
        means = np.lib.format.open_memmap(work / "means.npy", mode="w+", dtype=np.float64, shape=(pairs, 2))
        scores = unused = 0
        agreements = [Agreement()] * (len(files) + 1)
        missing = _Missing(files)
        for part in tqdm(range(parts), desc="averaging", unit=" parts", mininterval=1.0):
            texts = [_part(work, number, part) for number in range(len(files))]
            averaged = _average(texts, missing)
            means[averaged.lines] = averaged.means
            scores += averaged.scores
            unused += averaged.unused
            agreements = list(map(operator.add, agreements, averaged.agreements))
        missing.finish()
        for file, agreement in zip((*files, path), agreements, strict=True):
            if check:
                check(file, agreement)
        rows = tqdm(
            read_scored_pairs(files[0]), total=pairs, desc=f"writing {path.name}", unit=" pairs", mininterval=1.0
        )
        for (_, _, qid, positive, negative), (upper, lower) in zip(rows, _floats(means), strict=True):
            out.write(f"{upper!r}\t{lower!r}\t{qid}\t{positive}\t{negative}\n")
    return EnsembleReport(pairs, scores, unused, tuple(agreements))


def _require_several(files: Sequence[Path]) -> None:
    # Each is read more than once, which a pipe cannot be.
    wrong = [str(file) for file in files if file.exists() and not file.is_file()]
    distinct = len({file.resolve() for file in files})
    if distinct < max(2, len(files)) or wrong:
        raise TasbError(
            expected="two or more different files of scored pairs",
            found=f"{', '.join(wrong)}, no plain file" if wrong else ", ".join(map(str, files)) or "none",
            do="give one file for each teacher",
        )


def _count_parts(files: Sequence[Path], bytes_at_once: int) -> int:
    sizes = [file.stat().st_size * (GZIP_RATIO if file.suffix == ".gz" else 1) for file in files if file.exists()]
    return min(MOST_PARTS, 1 + max(sizes, default=0) // bytes_at_once)


def _part(work: Path, file: int, part: int) -> Path:
    return work / f"{file}.{part}.tsv"


def _split(path: Path, work: Path, file: int, parts: int) -> int:
    """Give each query's lines to one part, numbered; the number of lines."""
    from tqdm.auto import tqdm

    lines = 0
    with ExitStack() as stack:
        texts = [
            stack.enter_context(_part(work, file, part).open("w", encoding="utf-8", newline="\n"))
            for part in range(parts)
        ]
        for columns in tqdm(read_scored_pairs(path), desc=f"reading {path.name}", unit=" pairs", mininterval=1.0):
            texts[zlib.crc32(columns[2].encode()) % parts].write(f"{lines}\t" + "\t".join(columns) + "\n")
            lines += 1
    return lines


class _Missing:
    """Scores that the first file has and others lack, collected and then reported in one error."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._shown: list[str] = []
        self._count = 0

    def add(self, file: int, key: str) -> None:
        self._count += 1
        if len(self._shown) < FAULTS_SHOWN:
            qid, passage = key.split("\t")
            self._shown.append(f"{self._files[file]}: query {qid}, passage {passage}")

    def finish(self) -> None:
        if self._count:
            more = [f"… and {self._count - len(self._shown)} more"] if self._count > len(self._shown) else []
            raise TasbError(
                expected=f"a score in every file for each query and passage of {self._files[0]}",
                found=f"{self._count} missing:\n    " + "\n    ".join(self._shown + more),
                do="score the same pairs with every teacher, or give the file with the fewest pairs first",
            )


@dataclass(frozen=True)
class _Averaged:
    """A part's means [lines, 2], the lines of the first file they belong to, and agreements as in the report."""

    lines: NDArray[np.int64]
    means: NDArray[np.float64]
    scores: int
    unused: int
    agreements: list[Agreement]


def _average(texts: Sequence[Path], missing: _Missing) -> _Averaged:
    positions: dict[str, int] = {}
    lines, places = [], []
    for line, _, _, qid, positive, negative in _split_lines(texts[0]):
        lines.append(int(line))
        places += [positions.setdefault(f"{qid}\t{passage}", len(positions)) for passage in (positive, negative)]
    columns, unused, agreements = [], set(), []
    for text in texts:
        column = [math.nan] * len(positions)
        margins = []
        for _, positive_score, negative_score, qid, positive, negative in _split_lines(text):
            margins.append(float(positive_score) - float(negative_score))
            for passage, score in ((positive, positive_score), (negative, negative_score)):
                key = f"{qid}\t{passage}"
                position = positions.get(key)
                if position is None:
                    unused.add(key)
                else:
                    column[position] = float(score)  # the last one stays
        columns.append(column)
        agreements.append(Agreement.of(np.array(margins)))
    scores = np.array(columns, dtype=np.float64).reshape(len(texts), len(positions))
    keys = list(positions)
    for file, position in np.argwhere(np.isnan(scores)):
        missing.add(int(file), keys[position])
    # Sorted, so that the files' order does not change the last bit of a sum.
    means = np.sort(scores, axis=0).mean(axis=0)[np.array(places, dtype=np.int64).reshape(-1, 2)]
    agreements.append(Agreement.of(means[:, 0] - means[:, 1]))
    return _Averaged(np.array(lines, dtype=np.int64), means, len(positions), len(unused), agreements)


def _split_lines(part: Path) -> Iterator[list[str]]:
    with part.open(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            yield line[:-1].split("\t")


def _floats(means: NDArray[np.float64]) -> Iterator[list[float]]:
    for start in range(0, len(means), LINES_AT_ONCE):
        yield from means[start : start + LINES_AT_ONCE].tolist()


def read_scored_pairs(path: Path) -> Iterator[tuple[str, str, str, str, str]]:
    """The columns of each line of a scored-pairs file, plain or gzip: two scores, query, positive, negative.

    Raises:
        TasbError: at its end, if lines are faulty; all are named.
    """
    faults = LineFaults(path, expected="5 columns separated by tabs: pos_score neg_score qid pos_pid neg_pid")
    pairs = 0
    with open_lines(path) as lines:
        for number, line in enumerate(lines, 1):
            text = line.rstrip("\r\n")
            if not text:
                continue
            try:
                yield _checked_columns(text)
                pairs += 1
            except ValueError as error:
                faults.add(number, str(error))
    faults.finish(records=pairs)


def _checked_columns(text: str) -> tuple[str, str, str, str, str]:
    if not text.isascii():
        require_utf8(text)
    columns = text.split("\t")
    if len(columns) != 5:
        only_margins = " (margins only? a mean over teachers needs both scores)" if len(columns) == 4 else ""
        raise ValueError(f"{len(columns)} columns{only_margins}")
    positive_score, negative_score, qid, positive, negative = columns
    for name in (qid, positive, negative):
        if not name or name != name.strip():
            raise ValueError(f"id {name!r} is empty or begins or ends with white space")
    if positive == negative:
        raise ValueError(f"passage {positive} is the positive and the negative")
    for score in (positive_score, negative_score):
        if not _is_finite_number(score):
            raise ValueError(f"score {score!r} is not a finite number")
    return positive_score, negative_score, qid, positive, negative


def _is_finite_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and "_" not in text  # float() takes 1_0 for 10
    except ValueError:
        return False
