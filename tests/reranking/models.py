"""Tiny models of each kind, and what a score of theirs is: plain transformers, pair by pair, nothing batched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file

from pyserini_tasb.models.bert_cat import new_bert_cat, save_bert_cat
from pyserini_tasb.models.colbert import new_colbert, save_colbert
from tests.conftest import TINY_MODEL, plain_vectors
from tests.reranking.scorers.tiny_t5 import MONO, PlainT5, make_t5

if TYPE_CHECKING:
    from pathlib import Path


QUERY_MASKS = 4


def make_bi_encoder(_: Path) -> Path:
    return TINY_MODEL


def make_classifier(folder: Path) -> Path:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=2224, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        initializer_range=0.3, num_labels=1,
    )  # fmt: skip
    torch.manual_seed(5)
    BertForSequenceClassification(config).save_pretrained(folder)
    return with_tokenizer(folder)


def make_bert_cat(folder: Path) -> Path:
    folder.mkdir()
    model = new_bert_cat(TINY_MODEL, seed=3)
    torch.nn.init.constant_(model.head.bias, 0.25)
    save_bert_cat(folder, model)
    return with_tokenizer(folder)


def make_colbert(folder: Path) -> Path:
    folder.mkdir()
    model = new_colbert(TINY_MODEL, dimension=16, query_masks=QUERY_MASKS, seed=3)
    torch.nn.init.constant_(model.compressor.bias, 0.25)
    save_colbert(folder, model)
    return with_tokenizer(folder)


def make_mono_t5(folder: Path) -> Path:
    return make_t5(folder, pickled=False)


def with_tokenizer(folder: Path) -> Path:
    tokenizer().save_pretrained(folder)
    return folder


def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(TINY_MODEL)


def tiny_transformer():
    """What BERT_CAT and ColBERT start from: new heads leave its weights as they are."""
    from transformers import AutoModel

    return AutoModel.from_pretrained(TINY_MODEL).eval()


def bi_encoder_score(folder: Path, query: str, passage: str) -> float:
    vectors = plain_vectors(folder, [query, passage])
    return float(vectors[0] @ vectors[1])


def classifier_score(folder: Path, query: str, passage: str) -> float:
    from transformers import BertForSequenceClassification

    model = BertForSequenceClassification.from_pretrained(folder).eval()
    tokens = tokenizer()(
        query, passage, truncation=True, max_length=512, return_tensors="pt", return_token_type_ids=True
    )
    assert tokens["token_type_ids"].unique().tolist() == [0, 1]
    with torch.no_grad():
        return float(model(**tokens).logits)


def bert_cat_score(folder: Path, query: str, passage: str) -> float:
    head = load_file(folder / "model.safetensors")
    tokens = tokenizer()(query, passage, truncation=True, max_length=512, return_tensors="pt")
    with torch.no_grad():
        cls = tiny_transformer()(tokens["input_ids"]).last_hidden_state[0, 0]
    return float(cls @ head["_classification_layer.weight"][0] + head["_classification_layer.bias"][0])


def colbert_score(folder: Path, query: str, passage: str) -> float:
    weights, words = load_file(folder / "model.safetensors"), tokenizer()
    transformer = tiny_transformer()

    def vectors(ids: list[int]) -> torch.Tensor:
        with torch.no_grad():
            states = transformer(torch.tensor([ids])).last_hidden_state[0]
        return states @ weights["compressor.weight"].T + weights["compressor.bias"]

    ids = words(query, truncation=True, max_length=30)["input_ids"]
    masked = [*ids[:-1], *[words.mask_token_id] * QUERY_MASKS, ids[-1]]
    of_passage = vectors(words(passage, truncation=True, max_length=200)["input_ids"])
    return float((vectors(masked) @ of_passage.T).max(dim=1).values.sum())


def mono_t5_score(folder: Path, query: str, passage: str) -> float:
    return PlainT5(folder).log_probabilities(MONO.format(query, passage))[1]


MAKERS = {
    "bi-encoder": make_bi_encoder,
    "classifier": make_classifier,
    "bert-cat": make_bert_cat,
    "colbert": make_colbert,
    "mono-t5": make_mono_t5,
}
PLAIN_SCORES = {
    "bi-encoder": bi_encoder_score,
    "classifier": classifier_score,
    "bert-cat": bert_cat_score,
    "colbert": colbert_score,
    "mono-t5": mono_t5_score,
}
