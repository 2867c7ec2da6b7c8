"""Tiny causal models of random weights, with a tokenizer that puts nothing before a text, as theirs do."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import torch

from tests.conftest import TINY_MODEL

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WORDS, UNKNOWN = 2_224, 1
CAUSAL = ("gpt2", "llama")


def tokenizer_without_cls(folder: Path, inputs: Sequence[str] = ("input_ids", "attention_mask")) -> Path:
    """The tiny model's words, without the template that adds [CLS] and [SEP]; no padding token either."""
    folder.mkdir(parents=True, exist_ok=True)
    described = json.loads((TINY_MODEL / "tokenizer.json").read_text()) | {"post_processor": None}
    (folder / "tokenizer.json").write_text(json.dumps(described))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "eos_token": "[SEP]",
                "model_max_length": 64,
                "model_input_names": list(inputs),
            }
        )
    )
    return folder


def causal_model(folder: Path, kind: str, *, head: bool = False, **config: object) -> Path:
    """A GPT-2 or a Llama of two layers.

    Args:
        folder: is made.
        kind: one of `CAUSAL`.
        head: that for the next word, with which such models are published.
        config: over the configuration.
    """
    import transformers

    torch.manual_seed(0)
    model_config: transformers.PretrainedConfig
    if kind == "gpt2":
        model_config = transformers.GPT2Config(
            vocab_size=WORDS, n_embd=32, n_layer=2, n_head=2, n_positions=64, initializer_range=0.3, **config
        )
        model_class = transformers.GPT2LMHeadModel if head else transformers.GPT2Model
    else:
        # Two heads share keys: what has to be given its own place in every implementation of attention.
        model_config = transformers.LlamaConfig(
            vocab_size=WORDS, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.3, **config,
        )  # fmt: skip
        model_class = transformers.LlamaForCausalLM if head else transformers.LlamaModel
    model_class(model_config).save_pretrained(tokenizer_without_cls(folder))
    return folder


def last_vectors(folder: Path, texts: list[str], max_length: int = 64) -> torch.Tensor:
    """The definition of `pooling: last`: the last token's last hidden state, text by text, nothing batched."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        tokens = [tokenizer(text, truncation=True, max_length=max_length)["input_ids"] for text in texts]
        return torch.stack([model(torch.tensor([ids]))[0][0, -1] for ids in tokens])


def copy_of_tiny(folder: Path, **config: object) -> Path:
    """The tiny TAS-B model with keys of its config.json changed."""
    shutil.copytree(TINY_MODEL, folder)
    described = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(described))
    return folder
