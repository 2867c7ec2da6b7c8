"""Queries that a sequence-to-sequence model predicts for passages (docTTTTTquery: T5, top-k sampling)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyserini_tasb.models.pretrained import load_pretrained
from pyserini_tasb.models.tokenizers import batches_by_length, load_tokenizer, padded, require_vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pyserini_tasb.expansion.from_model import Sampling


# As docTTTTTquery's authors ran their T5, in tokens.
PASSAGE_MAX_LENGTH, QUERY_MAX_LENGTH = 512, 64
# Of passages, once for each sample: the decoder attends to them all. (For GPUs not measured: none was here.)
TOKENS_PER_BATCH = {"cpu": 16_384, "cuda": 262_144}


def found_device() -> str:
    """A GPU if there is one."""
    return "cuda:0" if torch.cuda.is_available() else "cpu"


class QueryGenerator:
    """A T5, or any other model of transformers' `AutoModelForSeq2SeqLM`, in fp32.

    Args:
        folder: the checkpoint.
        sampling: how to draw.
        device: `cpu`, `cuda:0`, …
        allow_bin: accept weights in `pytorch_model.bin`.

    Raises:
        TasbError: not such a model, incomplete weights, or a tokenizer of another one.
    """

    def __init__(self, folder: Path, sampling: Sampling, device: str, *, allow_bin: bool = False) -> None:
        from transformers import AutoModelForSeq2SeqLM

        model = load_pretrained(AutoModelForSeq2SeqLM, folder, torch.float32, allow_bin=allow_bin)
        self._model = model.to(device).eval()
        self._tokenizer: Any = load_tokenizer(folder)
        require_vocabulary(self._tokenizer, self._model, str(folder))
        self._sampling, self._device = sampling, device

    def sampled(self, texts: Sequence[str], part: int) -> Iterator[tuple[int, list[str]]]:
        """Positions in `texts` and the queries of that text, batch by batch, longest texts first.

        Args:
            texts: passages; those without text get no queries.
            part: of the collection, by number; what is drawn depends on it, on the texts, and on nothing before.
        """
        positions = [position for position, text in enumerate(texts) if text]
        if not positions:
            return
        token_ids = self._tokenizer(
            [texts[position] for position in positions], truncation=True, max_length=PASSAGE_MAX_LENGTH
        )["input_ids"]
        budget = TOKENS_PER_BATCH[torch.device(self._device).type] // self._sampling.samples
        for number, batch in enumerate(batches_by_length([len(ids) for ids in token_ids], budget)):
            queries = self._draw([token_ids[row] for row in batch], self._batch_seed(part, number))
            for row, of_row in zip(batch.tolist(), queries, strict=True):
                yield positions[row], of_row

    def _batch_seed(self, part: int, batch: int) -> int:
        # A seed may be negative, which numpy's may not.
        entropy = [abs(self._sampling.seed), int(self._sampling.seed < 0), part, batch]
        return int(np.random.SeedSequence(entropy).generate_state(1, np.uint32)[0])

    def _draw(self, token_ids: Sequence[Sequence[int]], seed: int) -> list[list[str]]:
        ids, mask = padded(token_ids, int(self._tokenizer.pad_token_id or 0), self._device)
        devices = [self._device] if torch.device(self._device).type == "cuda" else []
        with torch.inference_mode(), torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            drawn = self._model.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=True,
                num_beams=1,
                temperature=1.0,
                top_k=self._sampling.top_k,
                top_p=1.0,
                max_new_tokens=QUERY_MAX_LENGTH,
                num_return_sequences=self._sampling.samples,
            )
        texts = self._tokenizer.batch_decode(drawn, skip_special_tokens=True)
        size = self._sampling.samples
        return [texts[first : first + size] for first in range(0, len(texts), size)]
