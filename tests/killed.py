"""`python -m tests.killed N VERB …`: fork `tasb VERB …` N times, kill each, and give the same command again.

Everything happens in the folder that one is in; the verb writes to `new`. Prints counts as JSON, of the N kills:

* complete: the output was whole when the kill came, or before it
* again: the same command ended with 0 then
* refused: it did not
* other bytes: what it wrote is not what an undisturbed command writes, times apart
* left behind: a part, a lock or an old folder is still there
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

# Loaded once, so that the children are at work soon.
import faiss  # noqa: F401
import matplotlib.figure  # noqa: F401
import torch

import pyserini_tasb
from tests.command_line import tasb
from tests.command_line_folder import contents

TIMED = ("report.json", "outcome.json", "metrics.jsonl", "tensorboard", "checkpoints", "README.md", "curves.png",
         "row.json", "training.json", "study.", "table.md", "results/", "logs/", ".tasb-steps", "junit.xml",
         "index.html", "report.md")  # fmt: skip
LEFTOVERS = (".part", ".lock", ".old", ".work", ".new")


def made() -> dict[str, bytes]:
    """What is in `new`, without what has times in it."""
    found = contents(Path.cwd())
    return {
        name: content
        for name, content in found.items()
        if name.startswith("new/") and not any(part in name for part in TIMED)
    }


def started(words: list[str]) -> int:
    child = os.fork()
    if child:
        return child
    os.setsid()
    null = os.open("killed.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(null, 1)
    os.dup2(null, 2)
    try:
        os._exit(tasb(*words))
    finally:
        os._exit(70)


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def removed() -> None:
    shutil.rmtree("new", ignore_errors=True)
    shutil.rmtree(os.environ["PYSERINI_TASB_HOME"], ignore_errors=True)


def main(kills: int, words: list[str]) -> None:
    torch.set_num_threads(1)
    for name in ("search", "hybrid", "rerank", "tune", "train", "score", "mine", "index", "cluster", "pairs"):
        getattr(pyserini_tasb, name)  # imports its module
    removed()
    start = time.monotonic()
    if status := ended(started(words)):
        sys.exit(f"{words} ended with {status}: {Path('killed.log').read_text()}")
    seconds = time.monotonic() - start
    whole = made()
    found = dict.fromkeys(("kills", "complete", "again", "refused", "other bytes", "left behind"), 0)
    moments = random.Random(time.time_ns())
    while found["kills"] < kills:
        removed()
        child = started(words)
        time.sleep(moments.uniform(0, seconds))
        try:
            os.killpg(child, signal.SIGKILL)
        except ProcessLookupError:  # it has no group of its own yet
            os.kill(child, signal.SIGKILL)
        found["kills"] += 1
        ended(child)
        status = ended(started(words))
        said = Path("killed.log").read_text()
        if status == 2 and "found:    it exists" in said:
            found["complete"] += 1
        elif status == 0:
            found["again"] += 1
        else:
            found["refused"] += 1
            print(words, status, said)
        if made() != whole:
            found["other bytes"] += 1
            print("other bytes:", [name for name in {*made(), *whole} if made().get(name) != whole.get(name)])
        left = [str(path) for path in Path("new").rglob("*") if path.name.endswith(LEFTOVERS)]
        if left:
            found["left behind"] += 1
            print("left behind:", left)
            for path in left:
                shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink()
    print(json.dumps(found | {"seconds": round(seconds, 1)}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
