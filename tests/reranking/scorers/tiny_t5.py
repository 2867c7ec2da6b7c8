"""Tiny T5s in castorini's format, and what their answers are: plain transformers, prompt by prompt."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import torch

from tests.conftest import TINY

if TYPE_CHECKING:
    from pathlib import Path

MONO = "Query: {} Document: {} Relevant:"
DUO = "Query: {} Document0: {} Document1: {} Relevant:"
ANSWERS = ("true", "false", "yes", "no")


def make_t5(folder: Path, seed: int = 1, *, pickled: bool = True) -> Path:
    """A random T5 of the files that castorini published: no safetensors, and a tokenizer of SentencePiece's.

    Args:
        folder: is made.
        seed: of the weights.
        pickled: weights in `pytorch_model.bin`.
    """
    from transformers import T5Config, T5ForConditionalGeneration

    folder.mkdir(parents=True)
    (folder / "spiece.model").write_bytes(sentence_pieces())
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "T5Tokenizer", "model_max_length": 512, "extra_ids": 0})
    )
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=620, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, relative_attention_num_buckets=8,
        initializer_factor=2.0, decoder_start_token_id=0,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config)
    model.save_pretrained(folder)
    if pickled:
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    return folder


def sentence_pieces() -> bytes:
    """A vocabulary of the tiny collection's, with the words of answers; special tokens as T5 has them."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(TINY / "corpus.jsonl").open(), model_writer=model, vocab_size=600,
        user_defined_symbols=[f"▁{answer}" for answer in ANSWERS],
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, num_threads=1, minloglevel=2,
    )  # fmt: skip
    return model.getvalue()


class PlainT5:
    """Hugging Face's model of a folder, asked prompt by prompt."""

    def __init__(self, folder: Path, answers: tuple[str, str] = ("false", "true")) -> None:
        from transformers import AutoTokenizer, T5ForConditionalGeneration

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = T5ForConditionalGeneration.from_pretrained(folder).eval()
        self.answers = [self.tokenizer.get_vocab()[f"▁{answer}"] for answer in answers]

    def log_probabilities(self, prompt: str) -> list[float]:
        """Of both answers, as the first word that the decoder says."""
        return self.of_ids(self.tokenizer(prompt)["input_ids"])

    def of_ids(self, ids: list[int]) -> list[float]:
        with torch.no_grad():
            logits = self.model(input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([[0]])).logits[0, 0]
        return torch.log_softmax(logits[self.answers].double(), dim=0).tolist()
