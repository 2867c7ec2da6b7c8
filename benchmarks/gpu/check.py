"""Check all that a GPU user runs: one command, under five minutes on an H100, with torch and little else.

    make gpu-check
    python benchmarks/gpu/check.py --passages collection.tsv --queries queries.tsv
    python benchmarks/gpu/check.py --part table_1

It needs torch, transformers, numpy, safetensors and this checkout, in which nothing has to be installed: no Pyserini,
Java, Faiss or network. Each part is a script of its own, with a time limit. When one ends, the results so far are
written, to FOLDER/CHIP.json and FOLDER/CHIP.md. A part that breaks is shown, and the others run. The exit status is 1
if one of those run broke or missed a floor. Without a GPU, the same parts run with tiny sizes, in about a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import checkout  # noqa: F401 - before the imports of ours
import torch
from every_benchmark import file_name, page, run, state, summary
from measuring import machine

from pyserini_tasb.artifacts import write_whole

if TYPE_CHECKING:
    from every_benchmark import Document

HERE = Path(__file__).parent
# Part → seconds that it may take, 5 minutes in all. What tells most in little time comes first.
LIMITS = {"doctor": 15, "table_1": 50, "clustering": 20, "encoding_speed": 85, "training_speed": 100, "bare_tests": 30}
WITH_MODEL = {"table_1", "encoding_speed", "training_speed"}
WITH_PASSAGES = {"encoding_speed", "training_speed"}
WITH_QUERIES = {"table_1", "training_speed"}


def main() -> int:
    """Run the parts, collect, write; say what happened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", choices=LIMITS, default=list(LIMITS), metavar="NAME", help="run these")
    parser.add_argument("--folder", type=Path, default=Path("gpu-out"), help="default: %(default)s")
    parser.add_argument("--model", type=Path, help="a folder of a bi-encoder; default: a DistilBERT of random weights")
    parser.add_argument("--passages", type=Path, help="id TAB text; default: CACM's abstracts")
    parser.add_argument("--queries", type=Path, help="id TAB text; default: CACM's titles")
    parser.add_argument("--limit", type=float, help="seconds for each part, instead of its own limit")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, also on a GPU")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    here, start = machine(), time.perf_counter()
    path = arguments.folder / f"{file_name(here.get('gpu', here['processor']))}.json"
    document: Document = {"machine": here, "benchmarks": {}}
    if path.exists():
        document["benchmarks"] = json.loads(path.read_text(encoding="utf-8"))["benchmarks"]
    for number, name in enumerate(arguments.part, 1):
        limit = arguments.limit or LIMITS[name]
        print(f"\n=== {name} ({number} of {len(arguments.part)}, at most {limit:.0f} s)", flush=True)
        document["benchmarks"][name] = run(HERE / f"{name}.py", options(name, arguments), limit)
        parts = document["benchmarks"]
        document["benchmarks"] = {each: parts[each] for each in LIMITS if each in parts}
        write_whole(path, json.dumps(document, indent=1) + "\n")
        write_whole(path.with_suffix(".md"), page(document))
    print(f"\n{summary(document)}\n\n{time.perf_counter() - start:.0f} s\n{path}\n{path.with_suffix('.md')}")
    return int(any(state(document["benchmarks"][name]) not in {"met", "skipped"} for name in arguments.part))


def options(name: str, arguments: argparse.Namespace) -> list[str]:
    """The options of one part."""
    given = ["--quick"] if arguments.quick or not torch.cuda.is_available() else []
    for option, takers in (("model", WITH_MODEL), ("passages", WITH_PASSAGES), ("queries", WITH_QUERIES)):
        value = getattr(arguments, option)
        if value is not None and name in takers:
            given += [f"--{option}", str(value)]
    return given


if __name__ == "__main__":
    sys.exit(main())
