"""sentence-transformers' trainer with its MarginMSELoss: the pairs that ours draws, in the same order."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.data.pair_store import open_pair_store
from pyserini_tasb.training.sampling import build_sampler

if TYPE_CHECKING:
    from measuring import Results

PEER = "sentence-transformers"
RATE = 1e-5


@dataclass(frozen=True)
class PeerRun:
    """A run of that trainer.

    Args:
        model: the folder of the model to begin with.
        pairs: the folder of the pair store.
        output: a folder for the trainer's files.
        seed: the seed of our sampler, whose strategy is `random`.
        batch_size: queries a step.
        steps: the number of steps.
        max_length: token cap of queries and passages.
        precision: `fp32` or `bf16`.
        device: `cpu`, `cuda:0`, …
        dropout: the probability of all dropout; None leaves the model's own.
    """

    model: str
    pairs: str
    output: str
    seed: int
    batch_size: int
    steps: int
    max_length: int
    precision: str
    device: str = "cpu"
    dropout: float | None = None


def peer_is_installed(results: Results, what: str) -> bool:
    """True if all that it needs is installed; otherwise `what` is skipped, with a reason."""
    return all(results.has(package, what) for package in ("sentence_transformers", "accelerate", "datasets"))


def pairs_in_order(run: PeerRun) -> dict[str, list]:
    """The texts and margins of a pair store, as our own training draws them."""
    store = open_pair_store(Path(run.pairs))
    sampler = build_sampler("random", store, batch_size=run.batch_size, seed=run.seed)
    batches = [sampler.batch(step) for step in range(run.steps)]
    rows, queries = (np.concatenate([getattr(batch, of) for batch in batches]) for of in ("rows", "queries"))
    return {
        "query": store.queries.texts(queries),
        "positive": store.passages.texts(store.positives[rows]),
        "negative": store.passages.texts(store.negatives[rows]),
        "label": store.margins(rows).tolist(),
    }


def steps_of_peer(run: PeerRun) -> list[dict[str, float]]:
    """The loss of each step, and the clock's seconds at its end."""
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

    class InOrder(SentenceTransformerTrainer):
        def get_batch_sampler(self, dataset, batch_size, drop_last, **_):
            return BatchSampler(SequentialSampler(dataset), batch_size, drop_last)

    class Log(TrainerCallback):
        def __init__(self) -> None:
            self.lines: list[dict] = []

        def on_log(self, args, state, control, logs=None, **_) -> None:
            if logs and "loss" in logs:
                self.lines.append({"loss": logs["loss"], "seconds": time.perf_counter()})

    transformer = Transformer(run.model, max_seq_length=run.max_length)
    pooling = Pooling(transformer.auto_model.config.hidden_size, pooling_mode="cls")
    model = SentenceTransformer(modules=[transformer, pooling], device=run.device)
    if run.dropout is not None:
        for module in model.modules():
            if type(module).__name__ == "Dropout":
                module.p = run.dropout
            if hasattr(module, "dropout_prob"):  # of attention by PyTorch's own operator, in transformers 4
                module.dropout_prob = run.dropout
    log = Log()
    trainer = InOrder(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=run.output,
            per_device_train_batch_size=run.batch_size,
            max_steps=run.steps,
            learning_rate=RATE,
            weight_decay=0.0,
            max_grad_norm=0.0,
            lr_scheduler_type="constant",
            bf16=run.precision == "bf16",
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            use_cpu=run.device == "cpu",
            dataloader_num_workers=1,
        ),
        train_dataset=Dataset.from_dict(pairs_in_order(run)),
        loss=MarginMSELoss(model),
        callbacks=[log],
    )
    trainer.train()
    return log.lines
