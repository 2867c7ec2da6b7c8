"""Run every benchmark with `--quick`, one after the other; write one JSON and one table in Markdown.

    make bench
    python benchmarks/every_benchmark.py --only encode fusion
    python benchmarks/every_benchmark.py --corpus collection.tsv --topics queries.tsv

The files are FOLDER/PROCESSOR.json and FOLDER/PROCESSOR.md, named after the kind of processor. With `--only`, what they
have of other benchmarks stays. A benchmark that breaks is shown, and the others run. The exit status is 1 if one of
those run broke or missed a floor. benchmarks/speed_page.py makes a column of docs/speed.md from the JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measuring import machine, markdown, short

from pyserini_tasb.artifacts import write_whole
from pyserini_tasb.tables import markdown_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    Document = dict[str, Any]

HERE = Path(__file__).parent
# In the order in which people will ask.
BENCHMARKS = (
    "encode",
    "query_latency",
    "plain_onnx",
    "precision",
    "train_speed",
    "train_processes",
    "teacher_vectors",
    "fusion",
    "index_kinds",
    "exact_search",
    "lengths",
    "cluster",
    "corpus_scale",
    "pair_store",
    "sampler",
    "mapped_opening",
    "server_requests",
    "scale",
)
# Which of them read real texts.
CORPUS = {"encode", "plain_onnx", "train_speed", "train_processes", "teacher_vectors", "scale"}
TOPICS = {"query_latency", "plain_onnx", "train_speed", "train_processes", "teacher_vectors"}
LIMIT_SECONDS = 600


def main() -> int:
    """Run, collect, write; say what happened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=BENCHMARKS, metavar="NAME", help="run these")
    parser.add_argument("--folder", type=Path, default=Path("bench-out"), help="default: %(default)s")
    parser.add_argument("--corpus", type=Path, help="pid TAB text, for those that read passages")
    parser.add_argument("--topics", type=Path, help="qid TAB text, for those that read queries")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    here = machine()
    path = arguments.folder / f"{file_name(here['processor'])}.json"
    document: Document = {"machine": here, "benchmarks": {}}
    if path.exists():
        document["benchmarks"] = json.loads(path.read_text(encoding="utf-8"))["benchmarks"]
    for number, name in enumerate(arguments.only, 1):
        print(f"\n=== {name} ({number} of {len(arguments.only)}, about two minutes or less each)", flush=True)
        document["benchmarks"][name] = run(HERE / f"{name}.py", options(name, arguments), LIMIT_SECONDS)
        document["benchmarks"] = {
            each: document["benchmarks"][each] for each in BENCHMARKS if each in document["benchmarks"]
        }
        write_whole(path, json.dumps(document, indent=1) + "\n")
        write_whole(path.with_suffix(".md"), page(document))
    print(f"\n{summary(document)}\n\n{path}\n{path.with_suffix('.md')}")
    return int(any(state(document["benchmarks"][name]) not in {"met", "skipped"} for name in arguments.only))


def options(name: str, arguments: argparse.Namespace) -> list[str]:
    """The options of one benchmark."""
    corpus = ["--corpus", str(arguments.corpus)] if arguments.corpus and name in CORPUS else []
    topics = ["--topics", str(arguments.topics)] if arguments.topics and name in TOPICS else []
    return ["--quick", *corpus, *topics]


def run(script: Path, given: Sequence[str], limit: float) -> Document:
    """A benchmark's results; if it broke, what broke it, and what it had written before."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "result.json")
        command = [sys.executable, str(script), *given, "--output", str(output)]
        start = time.perf_counter()
        # In a session of its own, so that nothing that it started outlives it.
        process = subprocess.Popen(command, start_new_session=True)
        try:
            said = f"it ended with status {process.wait(limit)}"
        except subprocess.TimeoutExpired:
            said = f"it was stopped after {limit:.0f} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        found: Document = json.loads(output.read_text(encoding="utf-8")) if output.exists() else {}
        if found.pop("complete", bool(found)):
            return found
        print(f"{script.stem} broke: {said}", flush=True)
        return found | {"benchmark": script.stem, "broke": said, "seconds": time.perf_counter() - start}


def state(found: Document) -> str:
    """`met`, `missed`, `skipped` or `broke`."""
    if "broke" in found:
        return "broke"
    if not found["rows"]:
        return "skipped"
    return "met" if all(floor["met"] for floor in found["floors"]) else "missed"


def file_name(processor: str) -> str:
    """A kind of processor as a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", processor.lower()).strip("-")


def summary(document: Document) -> str:
    """A line for each benchmark."""
    head = ["benchmark", "floors", "seconds", "estimate", "missed, skipped, broken"]
    lines = []
    for name, found in document["benchmarks"].items():
        missed = [
            f"{floor['what']}: {short(floor['found'])}, wanted {floor['wanted']}"
            for floor in found.get("floors", [])
            if not floor["met"]
        ]
        estimate = found.get("estimate")
        others = [*missed, *found.get("skipped", []), *([found["broke"]] if "broke" in found else [])]
        shown = "" if estimate is None else f"{estimate:.0f}"
        lines.append([name, state(found), f"{found['seconds']:.0f}", shown, "; ".join(others)])
    return markdown_table(head, lines)


def page(document: Document) -> str:
    """All of it in Markdown."""
    here = document["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in here["versions"].items())
    measured = f"{here['cores']} cores, {here['threads']} threads, load {here['load']} at the start; "
    measured += f"commit {here['commit']}, {here['date']}; {here['system']}; {versions}"
    if "gpu" in here:
        about = ", ".join(f"{name} {value}" for name, value in here["gpu about"].items())
        measured = f"{about}; {here['processor']}, {measured}"
    parts = [f"# {here.get('gpu', here['processor'])}", measured, summary(document)]
    for name, found in document["benchmarks"].items():
        parts.append(f"## {name}")
        parts.append(f"It broke: {found['broke']}." if "broke" in found else "")
        parts.append(markdown(found) if "rows" in found else "")
    return "\n\n".join(filter(None, parts)) + "\n"


if __name__ == "__main__":
    sys.exit(main())
