"""BERT_CAT and ColBERT folders as their authors published them, of random weights, and what such models compute."""

from __future__ import annotations

import functools
import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from tests.conftest import TINY_MODEL

if TYPE_CHECKING:
    from pathlib import Path

BERT_CAT_ID = "sebastian-hofstaetter/distilbert-cat-margin_mse-T2-msmarco"
COLBERT_ID = "sebastian-hofstaetter/colbert-distilbert-margin_mse-T2-msmarco"
SPECIAL_TOKENS = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
BERT_CAT_CONFIG = {
    "architectures": ["BERT_Cat"],
    "bert_model": "distilbert-base-uncased",
    "model_type": "BERT_Cat",
    "trainable": True,
}
COLBERT_CONFIG = {
    "architectures": ["ColBERT"],
    "bert_model": "distilbert-base-uncased",
    "compression_dim": 768,
    "dropout": 0.0,
    "model_type": "ColBERT",
    "return_vecs": False,
    "trainable": True,
}


@dataclass(frozen=True)
class Size:
    """Of a DistilBERT."""

    vocabulary: int
    width: int
    inner: int
    layers: int
    spread: float  # of its weights


BASE = Size(30_522, 768, 3_072, 6, 0.02)
TINY_SIZE = Size(2_224, 32, 64, 2, 0.3)  # as tests/data/tiny-tasb


def random_distilbert(size, seed=0):
    """Every parameter of a DistilBERT, under the names that its checkpoints have."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}

    def linear(name, rows, columns):
        weights[f"{name}.weight"] = size.spread * torch.randn(rows, columns, generator=generator)
        weights[f"{name}.bias"] = size.spread * torch.randn(rows, generator=generator)

    def norm(name):
        weights[f"{name}.weight"] = 1 + 0.1 * torch.randn(size.width, generator=generator)
        weights[f"{name}.bias"] = 0.1 * torch.randn(size.width, generator=generator)

    for table, rows in (("word", size.vocabulary), ("position", 512)):
        weights[f"embeddings.{table}_embeddings.weight"] = size.spread * torch.randn(
            rows, size.width, generator=generator
        )
    norm("embeddings.LayerNorm")
    for layer in range(size.layers):
        at = f"transformer.layer.{layer}"
        for name in ("q_lin", "k_lin", "v_lin", "out_lin"):
            linear(f"{at}.attention.{name}", size.width, size.width)
        norm(f"{at}.sa_layer_norm")
        linear(f"{at}.ffn.lin1", size.inner, size.width)
        linear(f"{at}.ffn.lin2", size.width, size.inner)
        norm(f"{at}.output_layer_norm")
    return weights


def random_head(rows, columns, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return {
        "weight": torch.randn(rows, columns, generator=generator) / columns**0.5,
        "bias": torch.randn(rows, generator=generator),
    }


def write_authors_tokenizer(folder: Path) -> None:
    """Files of the time before tokenizer.json named its class, over the tiny model's vocabulary."""
    shutil.copy(TINY_MODEL / "vocab.txt", folder)
    (folder / "special_tokens_map.json").write_text(json.dumps(SPECIAL_TOKENS))
    described = {"do_lower_case": True, **SPECIAL_TOKENS, "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))


def write_authors_folder(folder, config, transformer, head):
    """The authors' layout: a config.json that only names the transformer, and one pickle of tensors."""
    folder.mkdir(parents=True)
    name = "_classification_layer" if config["model_type"] == "BERT_Cat" else "compressor"
    (folder / "config.json").write_text(json.dumps(config))
    weights = {f"bert_model.{key}": tensor for key, tensor in transformer.items()}
    # As checkpoints of 2021 have it.
    weights["bert_model.embeddings.position_ids"] = torch.arange(512)[None]
    torch.save(weights | {f"{name}.{key}": tensor for key, tensor in head.items()}, folder / "pytorch_model.bin")
    write_authors_tokenizer(folder)
    return folder


def tiny_bert_cat(folder, **config):
    """A small one; its transformer is named by a folder instead of the hub's name."""
    config = BERT_CAT_CONFIG | {"bert_model": str(TINY_MODEL)} | config
    return write_authors_folder(folder, config, random_distilbert(TINY_SIZE), random_head(1, 32))


def tiny_colbert(folder, dimension=16, **config):
    """As `tiny_bert_cat`."""
    config = COLBERT_CONFIG | {"bert_model": str(TINY_MODEL), "compression_dim": dimension} | config
    return write_authors_folder(folder, config, random_distilbert(TINY_SIZE, 2), random_head(dimension, 32))


def plain_distilbert(weights, **config):
    """Hugging Face's own class, filled without our code."""
    from transformers import DistilBertConfig, DistilBertModel

    model = DistilBertModel(DistilBertConfig(**config))
    model.load_state_dict(weights)
    return model.eval()


def plain_tiny_distilbert(seed=0):
    size = TINY_SIZE
    config = {"vocab_size": size.vocabulary, "dim": size.width, "hidden_dim": size.inner, "n_heads": 2}
    return plain_distilbert(random_distilbert(size, seed), n_layers=size.layers, **config)


@functools.cache
def tiny_tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(TINY_MODEL)


def text_ids(text):
    """A text's tokens, without special ones, by the tiny model's tokenizer.json."""
    return tiny_tokenizer().convert_tokens_to_ids(tiny_tokenizer().tokenize(text))


PAD, UNK, CLS, SEP, MASK = range(5)  # the first lines of the tiny vocabulary


def pair_ids(query, passage, max_length=512):
    """`[CLS] query [SEP] passage [SEP]` and its segments, cut token by token from whichever is longer.

    Of two that are of one length by then, the one that was shorter is cut further.
    """
    first, second = text_ids(query), text_ids(passage)
    first_was_longer = len(first) > len(second)
    while len(first) + len(second) + 3 > max_length:
        (first if len(first) + (not first_was_longer) > len(second) else second).pop()
    ids = [CLS, *first, SEP, *second, SEP]
    return torch.tensor([ids]), torch.tensor([[0] * (len(first) + 2) + [1] * (len(second) + 1)])


def plain_bert_cat_score(transformer, head, query, passage, max_length=512):
    """One pair, nothing padded: a linear function of the CLS vector."""
    ids, _ = pair_ids(query, passage, max_length)
    with torch.no_grad():
        cls = transformer(input_ids=ids).last_hidden_state[0, 0]
    return float(cls @ head["weight"][0] + head["bias"][0])


def plain_colbert_score(transformer, head, query, passage, query_max_length=30, max_length=200):
    """One pair, token by token: eight masks before the query's last [SEP], and nothing divided by any length."""
    asked = [CLS, *text_ids(query)[: query_max_length - 2], *[MASK] * 8, SEP]
    found = [CLS, *text_ids(passage)[: max_length - 2], SEP]
    with torch.no_grad():
        vectors = [
            transformer(input_ids=torch.tensor([ids])).last_hidden_state[0] @ head["weight"].T + head["bias"]
            for ids in (asked, found)
        ]
    return sum(max(float(ours @ theirs) for theirs in vectors[1]) for ours in vectors[0])
