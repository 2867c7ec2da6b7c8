"""Run every benchmark with `--quick`, one after the other; write one JSON and one table in Markdown.

    make bench
    python benchmarks/every_benchmark.py --only encode fusion
    python benchmarks/every_benchmark.py --corpus collection.tsv --topics queries.tsv

The files are FOLDER/PROCESSOR.json and FOLDER/PROCESSOR.md, named after the kind of processor. With `--only`, what they
have of other benchmarks stays, with the commit and the date of these. A benchmark that breaks is shown, and the others
run. The exit status is 1 if one of those run broke or missed a floor. What is stopped by a signal ends at once, and its
results so far are kept. benchmarks/speed_page.py makes a column of docs/speed.md from the JSON.
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
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measuring import machine, markdown, short

from pyserini_tasb.artifacts import write_whole
from pyserini_tasb.errors import Interruption
from pyserini_tasb.tables import markdown_table
from pyserini_tasb.workers import StopRequest

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
SECONDS_BETWEEN_LOOKS = 0.05
GIVEN = ("model", "passages", "queries", "corpus", "topics")  # options whose files a page names
SIGNALLED = 128  # and the signal's number: an exit status as shells give it


def main() -> int:
    """Run, collect, write; say what happened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=BENCHMARKS, metavar="NAME", help="run these")
    parser.add_argument("--folder", type=Path, default=Path("bench-out"), help="default: %(default)s")
    parser.add_argument("--corpus", type=Path, help="pid TAB text, for those that read passages")
    parser.add_argument("--topics", type=Path, help="qid TAB text, for those that read queries")
    arguments = parser.parse_args()
    here = machine()
    path = arguments.folder / f"{file_name(here['processor'])}.json"
    runs = [Run(HERE / f"{name}.py", options(name, arguments), LIMIT_SECONDS) for name in arguments.only]
    try:
        document = run_all(runs, BENCHMARKS, here, path)
    except Interruption as interruption:
        return SIGNALLED + interruption.number
    print(f"\n{summary(document)}\n\n{path}\n{path.with_suffix('.md')}")
    return status(document, arguments.only)


def options(name: str, arguments: argparse.Namespace) -> list[str]:
    """The options of one benchmark."""
    corpus = ["--corpus", str(arguments.corpus)] if arguments.corpus and name in CORPUS else []
    topics = ["--topics", str(arguments.topics)] if arguments.topics and name in TOPICS else []
    return ["--quick", *corpus, *topics]


@dataclass(frozen=True)
class Run:
    """A benchmark to run.

    Args:
        script: its file, which is named after it.
        options: what it is given.
        limit: seconds after which it is stopped.
    """

    script: Path
    options: Sequence[str]
    limit: float

    @property
    def name(self) -> str:
        """The benchmark's name."""
        return self.script.stem


def run_all(runs: Sequence[Run], order: Sequence[str], here: dict[str, Any], path: Path) -> Document:
    """Run benchmarks; after each, write all results to `path`, and a page beside it. Results of others there stay.

    Those of another size go: all numbers of a page are of small sizes, or none.

    Args:
        runs: what to run.
        order: the names of all benchmarks that there are, in the order of the page.
        here: what `measuring.machine` says.
        path: a file of JSON, which may exist.

    Raises:
        Interruption: after Ctrl-C, SIGTERM or SIGHUP, once what ran has ended and its results are written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    quick = any("--quick" in each.options for each in runs)
    known = json.loads(path.read_text(encoding="utf-8"))["benchmarks"] if path.exists() else {}
    found = {name: each for name, each in known.items() if each.get("settings", {}).get("quick", quick) == quick}
    outputs = {name: path.with_name(f"{path.stem}.{name}.part") for name in order}
    for name, output in outputs.items():
        if output.exists():
            found[name] = result(output, name, here, "this program was killed meanwhile")
    document: Document = {"machine": here, "benchmarks": {}}

    def write() -> None:
        document["benchmarks"] = {name: found[name] for name in order if name in found}
        write_whole(path, json.dumps(document, indent=1) + "\n")
        write_whole(path.with_suffix(".md"), page(document))
        for output in outputs.values():
            output.unlink(missing_ok=True)

    if found:
        write()
    with StopRequest() as stop:
        for number, each in enumerate(runs, 1):
            print(f"\n=== {each.name} ({number} of {len(runs)}, at most {each.limit:.0f} s)", flush=True)
            now = run(each, outputs[each.name], here, stop)
            if "rows" in now or not stop.made:  # stopped before its first row, it has nothing to replace others with
                found[each.name] = now
            write()
            if stop.made:
                raise stop.interruption()
    return document


def run(asked: Run, output: Path, here: dict[str, Any], stop: StopRequest) -> Document:
    """A benchmark's results; if it broke or was stopped, why, and what it had written before.

    Args:
        asked: what to run.
        output: the file for its results.
        here: what `measuring.machine` says.
        stop: tells when to stop.
    """
    command = [sys.executable, str(asked.script), *asked.options, "--output", str(output)]
    start = time.monotonic()
    # In a session of its own, so that nothing that it started outlives it.
    process = subprocess.Popen(command, start_new_session=True)
    try:
        while process.poll() is None and not stop.made and time.monotonic() - start < asked.limit:
            time.sleep(SECONDS_BETWEEN_LOOKS)
    finally:
        ended = process.poll()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if ended is not None:
        why = f"it ended with status {ended}"
    else:
        why = "it was stopped by a signal" if stop.made else f"it was stopped after {asked.limit:.0f} s"
    found = result(output, asked.name, here, why)
    return found | {"seconds": time.monotonic() - start} if "broke" in found else found


def result(output: Path, name: str, here: dict[str, Any], why: str) -> Document:
    """The results that a benchmark wrote; `why` it broke if that is not all.

    Args:
        output: the file of its results, which may not exist.
        name: the benchmark's name.
        here: what `measuring.machine` says, for a benchmark that wrote nothing.
        why: the reason, in words.
    """
    found: Document = json.loads(output.read_text(encoding="utf-8")) if output.exists() else {}
    if found.pop("complete", bool(found)):
        return found
    print(f"{name} broke: {why}", flush=True)
    return {"benchmark": name, "machine": here, "seconds": 0.0} | found | {"broke": why}


def status(document: Document, names: Sequence[str]) -> int:
    """The exit status: 1 if one of these benchmarks broke or missed a floor."""
    return int(any(state(document["benchmarks"][name]) not in {"met", "skipped"} for name in names))


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
    about = f"{here['cores']} cores, {here['threads']} threads, load {here['load']} at the start; "
    about += f"{here['system']}; {versions}"
    if "gpu" in here:
        gpu = ", ".join(f"{name} {value}" for name, value in here["gpu about"].items())
        about = f"{gpu}; {here['processor']}, {about}"
    parts = [f"# {here.get('gpu', here['processor'])}", about, summary(document)]
    for name, found in document["benchmarks"].items():
        parts += [f"## {name}", measured(found, here)]
        parts.append(f"It broke: {found['broke']}." if "broke" in found else "")
        parts.append(markdown(found) if "rows" in found else "")
    return "\n\n".join(filter(None, parts)) + "\n"


def measured(found: Document, here: dict[str, Any]) -> str:
    """Which commit was measured, when, in which size and on whose files; and versions that are no longer `here`."""
    machine, settings = found.get("machine", here), found.get("settings", {})
    parts = [f"Commit {machine['commit'] or 'unknown'}", machine["date"]]
    if "quick" in settings:
        parts.append("small sizes (`--quick`)" if settings["quick"] else "full sizes")
    parts += [f"{option} {settings[option]}" for option in GIVEN if settings.get(option) is not None]
    parts += [
        f"{name} {number}" for name, number in machine["versions"].items() if here["versions"].get(name) != number
    ]
    return ", ".join(parts) + "."


if __name__ == "__main__":
    sys.exit(main())
