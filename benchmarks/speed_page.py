"""Make the tables of docs/speed.md, and the chart docs/speed.svg, from docs/speed/*.json.

    cp bench-out/PROCESSOR.json docs/speed/    # what `make bench` wrote
    python benchmarks/speed_page.py

Each kind of processor has a column, and a part of the chart. The text around the tables is kept.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from every_benchmark import state
from marked_page import with_results
from measuring import ROOT, formatted, short
from speed_chart import FILES, PICTURE, panels, picture

from pyserini_tasb.artifacts import write_whole
from pyserini_tasb.tables import markdown_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Document = dict[str, Any]


PAGE = ROOT / "docs" / "speed.md"


class Shown(NamedTuple):
    """A table of the page: from a benchmark one column, and another in brackets."""

    title: str
    benchmark: str
    column: str
    in_brackets: str | None = None


TABLES = (
    Shown("Passages: times Pyserini (passages a second)", "encode", "times Pyserini", "passages/s"),
    Shown(
        "Passages: least cosine with Pyserini's vectors (share of the GEMM peak)",
        "encode",
        "least cosine",
        "of GEMM peak",
    ),
    Shown("One query: times Pyserini (p50 in ms)", "query_latency", "times Pyserini", "p50 ms"),
    Shown("Queries: p99 of one in ms (a batch of 10 in ms)", "query_latency", "p99 ms", "batch 10 ms"),
    Shown("Queries: a batch of 2,000 in ms", "query_latency", "batch 2000 ms"),
    Shown(
        "int8 of passages: times plain ONNX Runtime (ms each)", "plain_onnx", "times plain, passages", "ms, passages"
    ),
    Shown("int8 of queries: times plain ONNX Runtime (ms each)", "plain_onnx", "times plain, queries", "ms, queries"),
    Shown("Reduced precision: nDCG@10 (R@100)", "precision", "nDCG@10", "R@100"),
    Shown(
        "Training: times sentence-transformers (seconds a step)", "train_speed", "times sentence-transformers", "s/step"
    ),
    Shown("A teacher in the batch: times a pairwise step (seconds a step)", "teacher_vectors", "times", "s/step"),
    Shown("Fusion: times pyserini.fusion (seconds)", "fusion", "times", "seconds"),
    Shown("Indexes of random vectors: p50 in ms (recall@10)", "index_kinds", "p50 ms", "recall@10"),
    Shown("Vectors of different lengths: recall@100 (ms)", "lengths", "@100", "ms"),
    Shown("k-means: seconds", "cluster", "seconds"),
    Shown("A corpus to vectors by a toy model: passages a second (peak MiB)", "corpus_scale", "passages/s", "peak MiB"),
    Shown("A pair store: rows a second (seconds to open)", "pair_store", "rows/s", "open s"),
    Shown("Batches composed a second", "sampler", "batches/s"),
    Shown("An index opened without reading it: seconds (MiB)", "mapped_opening", "open s", "MiB"),
    Shown("Pyserini's REST server: answers a second (errors)", "server_requests", "queries/s", "errors"),
)


def main() -> int:
    """Write the page and the chart, or with --check compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if the page or the chart is another one"
    )
    check = parser.parse_args().check
    text = PAGE.read_text(encoding="utf-8")
    made = {PAGE: with_results(text, tables(documents(FILES))), PICTURE: picture(list(panels()))}
    for path, wanted in made.items():
        if not check:
            write_whole(path, wanted)
        elif not path.is_file() or path.read_text(encoding="utf-8") != wanted:
            print(f"{path} is not what benchmarks/speed_page.py makes of {FILES}")
            return 1
    return 0


def documents(folder: Path) -> list[Document]:
    """The results of `make bench` on each kind of processor, oldest first."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    return sorted(found, key=lambda document: document["machine"]["date"])


def tables(found: Sequence[Document]) -> str:
    """All tables in Markdown."""
    parts = ["## The machines", machines(found), "## Floors", floors(found)]
    for shown, following in itertools.pairwise((*TABLES, None)):
        lines = list(table(shown, found))
        if lines:
            parts += [f"## {shown.title}", markdown_table(["", *map(_name, found)], lines)]
        if following is None or following.benchmark != shown.benchmark:
            parts.append(settings(shown.benchmark, found))
    return "\n\n".join(filter(None, parts))


def machines(found: Sequence[Document]) -> str:
    """A table of the machines, one for each column."""
    lines = []
    for document in found:
        here = document["machine"]
        commits = dict.fromkeys(
            each["machine"]["commit"] for each in document["benchmarks"].values() if "machine" in each
        )
        versions = ", ".join(f"{name} {number}" for name, number in here["versions"].items())
        lines.append(
            [here["processor"], str(here["cores"]), ", ".join(commits), here["date"], here["system"], versions]
        )
    return markdown_table(["processor", "cores", "commit", "date", "system", "versions"], lines)


def floors(found: Sequence[Document]) -> str:
    """Each floor with what every column has; it is judged where the processor has the instructions."""
    judged: dict[tuple[str, str], list[str]] = {}
    for number, document in enumerate(found):
        for result in document["benchmarks"].values():
            for floor in result.get("floors", []):
                cells = judged.setdefault((floor["what"], floor["wanted"]), [""] * len(found))
                cells[number] = short(floor["found"]) + ("" if floor["met"] else " **missed**")
    lines = [[what, wanted, *cells] for (what, wanted), cells in judged.items()]
    return markdown_table(["", "wanted", *map(_name, found)], lines)


def table(shown: Shown, found: Sequence[Document]) -> Iterator[list[str]]:
    """A line for each row that any column has."""
    results = [document["benchmarks"].get(shown.benchmark, {}) for document in found]
    names = dict.fromkeys(name for result in results for name in result.get("rows", {}))
    for name in names:
        cells = [_cell(shown, result, name) for result in results]
        if any(cells):
            yield [name, *cells]


def settings(benchmark: str, found: Sequence[Document]) -> str:
    """How each column was measured, what it notes, and what it leaves out."""
    lines = []
    for document in found:
        result = document["benchmarks"].get(benchmark)
        if result is None:
            continue
        given = [
            f"{name.replace('_', ' ')} {_setting(value)}"
            for name, value in result.get("settings", {}).items()
            if value not in (None, False, True)
        ]
        # A note of several lines is a table of its own.
        notes = [note for note in result.get("notes", []) if "\n" not in note]
        left_out = [f"skipped {each}" for each in result.get("skipped", [])]
        broke = [f"broke: {result['broke']}"] if state(result) == "broke" else []
        said = filter(None, [", ".join(given), *notes, *left_out, *broke])
        lines.append(f"* {_name(document)}: {' '.join(map(_sentence, said))}")
    return "\n".join(lines)


def _cell(shown: Shown, result: Document, name: str) -> str:
    row, forms = result.get("rows", {}).get(name, {}), result.get("columns", {})
    if shown.column not in row:
        return ""
    first = formatted(row[shown.column], forms[shown.column])
    if shown.in_brackets not in row:
        return first
    return f"{first.partition(' ')[0]} ({formatted(row[shown.in_brackets], forms[shown.in_brackets])})"


def _name(document: Document) -> str:
    return str(document["machine"]["processor"])


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}."


def _setting(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_setting, value))
    return Path(value).name if isinstance(value, str) else str(value)


if __name__ == "__main__":
    sys.exit(main())
