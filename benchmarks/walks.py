"""How many files three walks through the code visit: the files whose functions run.

    python benchmarks/walks.py             # a table: files, functions, lines
    python benchmarks/walks.py --files     # and every file, in the order in which they are first entered

query to vector: stock `python -m pyserini.search.faiss` searches a flat index for one query with `--encoder tasb:CARD`,
    from the start-up hook to the written run.
scored pair to gradient: `tasb pairs` makes a store of scored pairs, and `tasb train` begins to train on it, up to
    the optimiser's first step. Training is the paper's: TAS-balanced batches, both losses, an in-batch teacher.
line of a run to line of a fused run: `tasb fuse` of two runs, linear, min-max.

A file counts when at least one of its functions or methods runs. An import alone does not count; a function that runs
during an import, such as a decorator, does. Lines are those of whole files. Each walk runs in a process of its own, and
all threads of that process are watched. Worker processes are not: the training makes its batches in its own process.

Everything is tiny and from tests/data. The script calls only what users type, so that it can count the files of other
versions, too. Counts may differ by a file or two between machines: the search has to find a Java, for example.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import runpy
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pyserini_tasb

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType

    Files = dict[str, list[str]]  # the functions of each file, both in the order in which they are first entered


PACKAGE = f"{Path(pyserini_tasb.__file__).parent}{os.sep}"
DATA = Path(__file__).resolve().parents[1] / "tests" / "data"
CORPUS, TOPICS, QRELS = (DATA / "tiny" / name for name in ("corpus.jsonl", "topics.tsv", "qrels.txt"))
MODEL, DIMENSION = DATA / "tiny-tasb", 32

CARD = f"""
name: tiny
model: {MODEL}
"""
TRAINING = f"""
name: walk
output: trained
student: {{model: {MODEL}}}
data: {{pairs: pairs, clusters: clusters/clusters.tsv}}
teacher: {{in_batch: tasb:tiny}}
batch_size: 4
max_steps: 1
precision: fp32
device: cpu
workers: 0
"""
SEARCH = "--topics topic.tsv --index index --encoder tasb:tiny --output run.txt"
PAIRS = "--scored-pairs scored.tsv --output pairs"
FUSE = "--runs dense.txt sparse.txt --method linear --normalization min-max --weights 1 0.5 --output fused.txt"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", action="store_true", help="print every file with its functions, too")
    parser.add_argument("--walk", choices=tuple(WALKS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.walk:
        Path("files.json").write_text(json.dumps(traced(WALKS[arguments.walk])), encoding="utf-8")
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        walks = {walk: files_of(walk, folder) for walk in WALKS}
    print(f"{'walk':<40}{'files':>6}{'functions':>12}{'lines':>9}")
    for walk, files in walks.items():
        lines = sum(len(Path(PACKAGE, file).read_text(encoding="utf-8").splitlines()) for file in files)
        print(f"{walk:<40}{len(files):>6}{sum(map(len, files.values())):>12}{lines:>9,}")
    if arguments.files:
        for walk, files in walks.items():
            print(f"\n{walk}")
            for number, (file, functions) in enumerate(files.items(), 1):
                print(f"{number:>4}  {file}: {', '.join(functions)}")
    return 0


def prepare(folder: Path) -> None:
    """Put into `folder` what the walks start from: a card, an index, scored pairs, clusters, two runs."""
    (folder / "home" / "encoders").mkdir(parents=True)
    (folder / "home" / "encoders" / "tiny.yaml").write_text(CARD, encoding="utf-8")
    (folder / "training.yaml").write_text(TRAINING, encoding="utf-8")
    first_topic = TOPICS.read_text(encoding="utf-8").splitlines(keepends=True)[0]
    (folder / "topic.tsv").write_text(first_topic, encoding="utf-8")
    judgments = [line.split() for line in QRELS.read_text(encoding="utf-8").splitlines()]
    judged = {docid for _, _, docid, _ in judgments}
    docids = [json.loads(line)["id"] for line in CORPUS.read_text(encoding="utf-8").splitlines()]
    others = [docid for docid in docids if docid not in judged]
    with (folder / "scored.tsv").open("w", encoding="utf-8") as scored:
        for number, ((qid, _, positive, _), negative) in enumerate(zip(judgments, others, strict=False)):
            scored.write(f"{number % 7 + 3}\t{number % 3}\t{qid}\t{positive}\t{negative}\n")
    for name in ("dense.txt", "sparse.txt"):
        lines = [f"1 Q0 {judgments[rank][2]} {rank} {len(name) - rank} {name}\n" for rank in range(1, 4)]
        (folder / name).write_text("".join(lines), encoding="utf-8")
    fields = "--fields title text"
    encode = f"encoder --encoder tasb:tiny {fields} --dimension {DIMENSION} --device cpu"
    corpus = ["input", "--corpus", CORPUS, *f"{fields} output --embeddings index --to-faiss {encode}".split()]
    python(folder, "-m", "pyserini.encode", *corpus)
    cluster = "--encoder tasb:tiny --clusters 2 --batch-size 4 --output clusters"
    python(folder, "-m", "pyserini_tasb", "cluster", "--topics", TOPICS, *cluster.split())


def files_of(walk: str, folder: Path) -> Files:
    """The files of one walk, taken in a process of its own."""
    python(folder, Path(__file__).resolve(), "--walk", walk, PYSERINI_TASB_AUTOLOAD="0")
    files: Files = json.loads((folder / "files.json").read_text(encoding="utf-8"))
    return files


def python(folder: Path, *arguments: object, **variables: str) -> None:
    """Run Python in `folder`, without the user's cards and settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYSERINI_TASB_")}
    environment |= {"PYSERINI_TASB_HOME": str(folder / "home"), **variables}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\nexit {done.returncode}\n{done.stdout}\n{done.stderr}")


class Trace:
    """Notes which functions of the package run in this process, until it is stopped."""

    def __init__(self) -> None:
        self.files: Files = {}
        self.stopped = False
        if sys.version_info >= (3, 12):
            tool, events = sys.monitoring.PROFILER_ID, sys.monitoring.events
            sys.monitoring.use_tool_id(tool, "walks")
            sys.monitoring.register_callback(tool, events.PY_START, lambda code, _: self._note(code))
            sys.monitoring.set_events(tool, events.PY_START)
        else:
            threading.setprofile(self._profile)
            sys.setprofile(self._profile)

    def stop(self, *_: object) -> None:
        """Note no more; the arguments that a hook of torch's gets do not matter."""
        self.stopped = True

    def _profile(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            self._note(frame.f_code)

    def _note(self, code: CodeType) -> None:
        if code.co_filename.startswith(PACKAGE) and is_function(code) and not self.stopped:
            functions = self.files.setdefault(code.co_filename.removeprefix(PACKAGE), [])
            if code.co_qualname not in functions:
                functions.append(code.co_qualname)


def is_function(code: CodeType) -> bool:
    """False for the body of a module or class, and for a comprehension, which is a part of the function around it."""
    return bool(code.co_flags & inspect.CO_OPTIMIZED) and (code.co_name == "<lambda>" or code.co_name[0] != "<")


def traced(walk: Callable[[Trace], None]) -> Files:
    """The files of a walk in this process, at whose start the start-up hook was off."""
    del os.environ["PYSERINI_TASB_AUTOLOAD"]
    trace = Trace()
    from pyserini_tasb.plugin.startup import install

    install()
    walk(trace)
    trace.stop()
    return trace.files


def query_to_vector(_: Trace) -> None:
    """Stock Pyserini searches for one query."""
    sys.argv = ["pyserini.search.faiss", *SEARCH.split()]
    runpy.run_module("pyserini.search.faiss", run_name="__main__", alter_sys=True)
    require_lines("run.txt")


def pair_to_gradient(trace: Trace) -> None:
    """Scored pairs become a store; a batch of them becomes the gradient that the optimiser is given."""
    tasb("pairs", *PAIRS.split(), "--corpus", CORPUS, "--topics", TOPICS)
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    register_optimizer_step_pre_hook(trace.stop)
    tasb("train", "training.yaml")
    if not trace.stopped:
        sys.exit("the training ended without an optimiser's step")


def line_to_fused_line(_: Trace) -> None:
    """Two runs become one."""
    tasb("fuse", *FUSE.split())
    require_lines("fused.txt")


def tasb(*arguments: object) -> None:
    """The command line, in this process."""
    from pyserini_tasb.cli.main import main as command_line

    status = command_line([str(argument) for argument in arguments])
    if status:
        sys.exit(status)


def require_lines(run: str) -> None:
    """Stop where a walk led to nothing."""
    if not Path(run).read_text(encoding="utf-8"):
        sys.exit(f"{run} is empty")


WALKS: dict[str, Callable[[Trace], None]] = {
    "query to vector": query_to_vector,
    "scored pair to gradient": pair_to_gradient,
    "line of a run to line of a fused run": line_to_fused_line,
}

if __name__ == "__main__":
    sys.exit(main())
