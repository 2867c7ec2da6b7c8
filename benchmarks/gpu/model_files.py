"""The model to measure: the folder that is given, or one of DistilBERT's size with random weights.

How fast a model is does not depend on its weights. Its tokenizer is trained on the texts that are measured, because no
vocabulary travels with a checkout.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pyserini_tasb.models.on_gpu import PACKING_VARIABLE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

SPECIAL = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
WORD_PIECES, TEXTS_READ = 8_000, 5_000
EMBEDDINGS = 30_522  # of BERT
TINY = {"vocab_size": WORD_PIECES, "dim": 64, "n_layers": 2, "n_heads": 2, "hidden_dim": 128}


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add `--model`, `--size` and `--device`."""
    parser.add_argument("--model", type=Path, help="a folder of a bi-encoder; default: random weights")
    parser.add_argument("--size", choices=("distilbert", "tiny"), default="distilbert", help="of random weights")
    parser.add_argument("--device", help="default: a GPU, or else the CPU")


def found_device(asked: str | None) -> str:
    """The device to measure."""
    return asked or ("cuda:0" if torch.cuda.is_available() else "cpu")


def synchronize(device: str) -> None:
    """Wait until a GPU has done what it was asked."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


@contextlib.contextmanager
def padding() -> Iterator[None]:
    """Models that are loaded in the block compute padding on GPUs."""
    before = os.environ.get(PACKING_VARIABLE)
    os.environ[PACKING_VARIABLE] = "0"
    try:
        yield
    finally:
        del os.environ[PACKING_VARIABLE]
        if before is not None:
            os.environ[PACKING_VARIABLE] = before


@contextlib.contextmanager
def model_to_measure(arguments: argparse.Namespace, texts: Sequence[str]) -> Iterator[tuple[Path, Path]]:
    """The model's folder, and a folder for files; the caches of ours lie in the latter.

    Args:
        arguments: those of `add_model_options`.
        texts: what a tokenizer for random weights is trained on.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        model = arguments.model or folder / "model"
        if arguments.model is None:
            write_random_model(model, texts, size=arguments.size)
        yield model, folder


def write_random_model(folder: Path, texts: Sequence[str], *, size: str = "distilbert") -> None:
    """A DistilBERT of random weights, the same ones each time, and a tokenizer of word pieces of these texts."""
    from transformers import DistilBertConfig, DistilBertModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = DistilBertConfig(vocab_size=EMBEDDINGS) if size == "distilbert" else DistilBertConfig(**TINY)
    DistilBertModel(config).save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_word_pieces(texts[:TEXTS_READ]), model_max_length=config.max_position_embeddings, **SPECIAL
    )
    tokenizer.save_pretrained(folder)


def _word_pieces(texts: Sequence[str]) -> object:
    """A tokenizer that works as BERT's does."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token=SPECIAL["unk_token"]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=WORD_PIECES, special_tokens=list(SPECIAL.values()), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return tokenizer
