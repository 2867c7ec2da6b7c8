"""Check all that a GPU user runs: one command, under five minutes on an H100, with torch and little else.

    make gpu-check
    python benchmarks/gpu/check.py --passages collection.tsv --queries queries.tsv
    python benchmarks/gpu/check.py --part table_1

It needs torch, transformers, numpy, safetensors and this checkout, in which nothing has to be installed: no Pyserini,
Java, Faiss or network. Each part is a script of its own, with a time limit. When one ends, the results so far are
written, to FOLDER/CHIP.json and FOLDER/CHIP.md. A part that breaks is shown, and the others run. The exit status is 1
if one of those run broke or missed a floor. Without a GPU, the same parts run with tiny sizes, in about a minute, and
the files are FOLDER/PROCESSOR-quick.json and .md. If this program is stopped, so is the part that runs.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import checkout  # noqa: F401 - before the imports of ours
import torch
from every_benchmark import SIGNALLED, Run, file_name, run_all, status, summary
from measuring import machine

from pyserini_tasb.errors import Interruption

HERE = Path(__file__).parent
# Part → seconds that it may take. What tells most in little time comes first. This program's own start takes some more
# seconds, and all together must take less than 5 minutes.
LIMITS = {"doctor": 15, "table_1": 45, "clustering": 20, "encoding_speed": 85, "training_speed": 90, "bare_tests": 30}
WITH_LIMIT = {"encoding_speed", "training_speed"}  # what they have no time for, they skip
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
    quick = arguments.quick or not torch.cuda.is_available()
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    here, start = machine(), time.perf_counter()
    # Small sizes have files of their own: their numbers say nothing beside the others.
    path = arguments.folder / f"{file_name(here.get('gpu', here['processor']))}{'-quick' * quick}.json"
    limits = {name: arguments.limit or LIMITS[name] for name in arguments.part}
    runs = [
        Run(HERE / f"{name}.py", options(name, arguments, limits[name], quick=quick), limits[name]) for name in limits
    ]
    try:
        document = run_all(runs, list(LIMITS), here, path)
    except Interruption as interruption:
        return SIGNALLED + interruption.number
    print(f"\n{summary(document)}\n\n{time.perf_counter() - start:.0f} s\n{path}\n{path.with_suffix('.md')}")
    return status(document, arguments.part)


def options(name: str, arguments: argparse.Namespace, limit: float, *, quick: bool) -> list[str]:
    """The options of one part."""
    given = ["--quick"] if quick else []
    if name in WITH_LIMIT:
        given += ["--limit", str(limit)]
    for option, takers in (("model", WITH_MODEL), ("passages", WITH_PASSAGES), ("queries", WITH_QUERIES)):
        value = getattr(arguments, option)
        if value is not None and name in takers:
            given += [f"--{option}", str(value)]
    return given


if __name__ == "__main__":
    sys.exit(main())
