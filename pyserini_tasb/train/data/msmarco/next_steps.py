"""What to type after `tasb data msmarco`: the early-stopping set, the clusters, the training."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

from pyserini_tasb.train.data.msmarco.files import MSMARCO
from pyserini_tasb.train.data.msmarco.held_out import QRELS, TOPICS
from pyserini_tasb.whole_file import whole_text_file

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS, CONFIGURATION = "next-steps.sh", "tas-b.yaml"
FILES, PAIRS, DEV, EARLY_STOPPING, CLUSTERS = "files", "pairs", "dev-49k", "early-stopping", "clusters"
# The paper's clustering model (Section 4.2): BERT_DOT trained on pairs, random batches.
CLUSTERING_ENCODER = "margin-mse"
PAPER_CLUSTERS = 2_000

_TEMPLATE = """\
# TAS-B's training as in its paper (arXiv:2104.06967, Section 4.2). It prints results for batch sizes 32, 96 and 256.
name: my-tas-b
description: DistilBERT trained with TAS-Balanced batches and dual supervision on MS MARCO passages
output: {output}
student:
  model: distilbert/distilbert-base-uncased
  query_max_length: 30
  passage_max_length: 200
data:
  pairs: {pairs}
  clusters: {clusters}
  validation: {validation}
sampling: {{strategy: tas-balanced, clusters_per_batch: 1, bins: 10}}
loss: {{pairwise: margin-mse, in_batch: margin-mse, alpha: 0.75}}
# The paper's own, as published; its weights are in pytorch_model.bin, read by PyTorch's weights-only reader.
teacher: {{in_batch: sebastian-hofstaetter/colbert-distilbert-margin_mse-T2-msmarco, allow_bin: true}}
optimiser: {{name: adam, learning_rate: 7e-6}}
schedule: {{name: constant}}
validation: {{every: 4000, patience: 30, measure: nDCG@10}}
batch_size: 32
"""


def write_next_steps(folder: Path) -> list[str]:
    """Write the commands, and the paper's configuration unless one is there; return the commands.

    Args:
        folder: the recipe's output; paths in the commands begin with it as it is given here.

    Raises:
        TasbError: the disk refuses.
    """
    commands = [shlex.join(command) for command in _commands(folder)]
    with whole_text_file(folder / COMMANDS) as script:
        script.write("\n".join(["set -e", *commands, ""]))
    if not (folder / CONFIGURATION).exists():  # it may have been edited
        with whole_text_file(folder / CONFIGURATION) as file:
            file.write(_configuration(folder))
    return commands


def _commands(folder: Path) -> list[list[str]]:
    dev, run = folder / DEV, folder / DEV / "run.bm25.txt"
    searched = ["--topics", str(dev / TOPICS), "--output", str(run)]
    return [
        [
            *("python", "-m", "pyserini.search.lucene", "--bm25", "--index", "msmarco-v1-passage", *searched),
            *("--hits", "100", "--threads", "16", "--batch-size", "128"),
        ],
        [
            *("tasb", "data", "validation", "--topics", str(dev / TOPICS), "--qrels", str(dev / QRELS)),
            # Not the pair store's passages: these are only the ones that training needs.
            *("--run", str(run), "--collection", str(folder / FILES / MSMARCO.collection.name)),
            *("--output", str(folder / EARLY_STOPPING)),
        ],
        [
            *("tasb", "cluster", "--queries", str(folder / PAIRS), "--encoder", CLUSTERING_ENCODER),
            *("--clusters", str(PAPER_CLUSTERS), "--output", str(folder / CLUSTERS)),
        ],
        ["tasb", "train", str(folder / CONFIGURATION)],
    ]


def _configuration(folder: Path) -> str:
    paths = {
        "output": folder / "tas-b",
        "pairs": folder / PAIRS,
        "clusters": folder / CLUSTERS / "clusters.tsv",
        "validation": folder / EARLY_STOPPING,
    }
    # A JSON string is a YAML string, whatever is in the path.
    return _TEMPLATE.format(**{key: json.dumps(str(path), ensure_ascii=False) for key, path in paths.items()})
