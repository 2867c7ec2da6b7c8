"""Expansion with queries that a model predicts here: part by part, each written whole, so that it can go on."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from pyserini_tasb.encoding.plan import UnitDigest, kept_plan, plan_corpus
from pyserini_tasb.environment.processor import require_device
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.expansion.shards import QueryCounts, shard_path, work_folder, write_queries, write_shard
from pyserini_tasb.formats.collections import Corpus
from pyserini_tasb.formats.fields import Fields
from pyserini_tasb.models.checkpoints import find_checkpoint, folder_digest
from pyserini_tasb.models.tokenizers import batches_by_length, load_tokenizer, padded, require_vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pyserini_tasb.encoding.plan import CorpusPlan
    from pyserini_tasb.expansion.shards import WorkFolder
    from pyserini_tasb.formats.collections import Mark
    from pyserini_tasb.workers import StopRequest


SHARD_SIZE = 1_024


@dataclass(frozen=True)
class Sampling:
    """Top-k sampling, as docTTTTTquery's authors did it by default.

    Args:
        samples: queries of each passage.
        top_k: most likely tokens, among which the next one is drawn.
        seed: the same seed draws the same queries, on the same machine.
    """

    samples: int = 40
    top_k: int = 10
    seed: int = 0


@dataclass(frozen=True)
class Expansion:
    """A corpus to expand, and the model that predicts its queries.

    Args:
        corpus: path of the passages.
        model: folder or hub id of a sequence-to-sequence model.
        sampling: how its queries are drawn.
        shard_size: passages of a part, which is a file of the output.
        device: `cpu`, `cuda:0`, …; None is a GPU if there is one.
        allow_bin: accept weights in `pytorch_model.bin`.
        fields: the fields of a passage's docid and text.
        queries_only: write the queries by themselves, without the passages.
    """

    corpus: str
    model: str
    sampling: Sampling = field(default_factory=Sampling)
    shard_size: int = SHARD_SIZE
    device: str | None = None
    allow_bin: bool = False
    fields: Fields = Fields()  # noqa: RUF009 - immutable
    queries_only: bool = False


def expand_with_model(
    expansion: Expansion, output: Path, stop: StopRequest, *, overwrite: bool = False
) -> QueryCounts | None:
    """Write every passage with its predicted queries; return the numbers of passages and queries.

    What is written does not depend on where it was interrupted: a part's queries are drawn from a seed of its own.

    Args:
        expansion: what to do.
        output: a new folder, which appears once it is complete.
        stop: asked to, it ends after a batch, and None is returned; finished parts are kept for the next try.
        overwrite: replace expanded passages at `output`.

    Raises:
        TasbError: a faulty collection, no such model, parts of something else, or the disk refuses.
    """
    folder = find_checkpoint(expansion.model, allow_bin=expansion.allow_bin)
    with work_folder(output, overwrite=overwrite) as work:
        corpus = Corpus([expansion.corpus], expansion.fields)
        plan = kept_plan(work.plan, corpus, expansion.shard_size)
        if plan is None:
            plan = plan_corpus(corpus, expansion.shard_size, expansion.corpus)
            plan.write(work.plan)
        about = {"collection": plan.fingerprint, "model": folder_digest(folder), "shard_size": expansion.shard_size}
        if expansion.queries_only:  # named only then, so that work which an earlier version began goes on
            about |= {"queries_only": True}
        work.require_about(about | asdict(expansion.sampling))
        missing = work.missing(len(plan.marks))
        if missing:
            generator = QueryGenerator(folder, expansion.sampling, expansion.device, allow_bin=expansion.allow_bin)
            parts = _parts(corpus, plan, missing)
            _expand(parts, plan, generator, work, stop, queries_only=expansion.queries_only)
        if stop.made and work.missing(len(plan.marks)):
            return None
        work.publish()
    samples = expansion.sampling.samples
    queries = samples * (plan.records - plan.empty)
    return QueryCounts(plan.records, queries, 0 if plan.empty else samples, samples, plan.empty)


def _expand(
    parts: Iterator[tuple[int, list[tuple[str, str]]]],
    plan: CorpusPlan,
    generator: QueryGenerator,
    work: WorkFolder,
    stop: StopRequest,
    *,
    queries_only: bool,
) -> None:
    done = plan.records - sum(_passages(plan, number) for number in work.missing(len(plan.marks)))
    with tqdm(total=plan.records, initial=done, desc="predicting queries", unit=" passages") as progress:
        for number, passages in parts:
            queries: list[list[str]] = [[] for _ in passages]
            for position, of_passage in generator.sampled([text for _, text in passages], number):
                if stop.made:
                    return
                queries[position] = [" ".join(query.split()) for query in of_passage]
                progress.update()
            path, expanded = shard_path(work.passages, number), zip(passages, queries, strict=True)
            if queries_only:
                write_queries(path, ((docid, of_text) for (docid, _), of_text in expanded))
            else:
                joined = ((docid, text, " ".join(filter(None, of_text))) for (docid, text), of_text in expanded)
                write_shard(path, joined)


def _passages(plan: CorpusPlan, number: int) -> int:
    return min(plan.unit_size, plan.records - number * plan.unit_size)


def _parts(corpus: Corpus, plan: CorpusPlan, numbers: Sequence[int]) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """Docids and texts of each part.

    Raises:
        TasbError: they are no longer what they were when the plan was made.
    """
    passages: Iterator[tuple[Mark, str, str]] = iter(())
    before = None
    for number in numbers:
        if before is None or number != before + 1:
            passages = corpus.marked(plan.marks[number])
        before = number
        part = [(docid, text) for _, docid, text in itertools.islice(passages, plan.unit_size)]
        digest = UnitDigest()
        digest.add(part)
        if digest.hexdigest() != plan.digests[number]:
            raise TasbError(
                where=f"passages {number * plan.unit_size + 1:,} to {number * plan.unit_size + len(part):,}",
                expected="the collection as it was when the command began",
                found="other docids or texts",
                do="do not change the collection while it is expanded; expand a changed collection to another "
                f"{argument('output')}",
            )
        yield number, part


# As docTTTTTquery's authors ran their T5, in tokens.
PASSAGE_MAX_LENGTH, QUERY_MAX_LENGTH = 512, 64
# Each passage counts once for each sample: the decoder attends to them all. (For GPUs not measured: none was here.)
TOKENS_PER_BATCH = {"cpu": 16_384, "cuda": 262_144}


class QueryGenerator:
    """A T5, or any other model of transformers' `AutoModelForSeq2SeqLM`, in fp32.

    Args:
        folder: the checkpoint.
        sampling: how to draw.
        device: `cpu`, `cuda:0`, …; None: a GPU if there is one.
        allow_bin: accept weights in `pytorch_model.bin`.

    Raises:
        TasbError: not such a model, incomplete weights, or a tokenizer of another one.
    """

    def __init__(self, folder: Path, sampling: Sampling, device: str | None, *, allow_bin: bool = False) -> None:
        import torch
        from transformers import AutoModelForSeq2SeqLM

        from pyserini_tasb.models.pretrained import load_pretrained

        device = device or ("cuda:0" if torch.cuda.is_available() else "cpu")
        model = load_pretrained(AutoModelForSeq2SeqLM, folder, torch.float32, allow_bin=allow_bin)
        self._model = model.to(device).eval()
        self._tokenizer: Any = load_tokenizer(folder)
        require_vocabulary(self._tokenizer, self._model, str(folder))
        require_device(device)
        self._sampling, self._device = sampling, torch.device(device)

    def sampled(self, texts: Sequence[str], part: int) -> Iterator[tuple[int, list[str]]]:
        """Positions in `texts` and the queries of that text, batch by batch, longest texts first.

        Args:
            texts: passages; those without text get no queries.
            part: the part's number; what is drawn depends on it, on the texts, and on nothing before.
        """
        positions = [position for position, text in enumerate(texts) if text]
        if not positions:
            return
        token_ids = self._tokenizer(
            [texts[position] for position in positions], truncation=True, max_length=PASSAGE_MAX_LENGTH
        )["input_ids"]
        budget = TOKENS_PER_BATCH[self._device.type] // self._sampling.samples
        for number, batch in enumerate(batches_by_length([len(ids) for ids in token_ids], budget)):
            queries = self._draw([token_ids[row] for row in batch], self._batch_seed(part, number))
            for row, of_row in zip(batch.tolist(), queries, strict=True):
                yield positions[row], of_row

    def _batch_seed(self, part: int, batch: int) -> int:
        # A seed may be negative, which numpy's may not.
        entropy = [abs(self._sampling.seed), int(self._sampling.seed < 0), part, batch]
        return int(np.random.SeedSequence(entropy).generate_state(1, np.uint32)[0])

    def _draw(self, token_ids: Sequence[Sequence[int]], seed: int) -> list[list[str]]:
        import torch

        ids, mask = padded(token_ids, int(self._tokenizer.pad_token_id or 0), str(self._device))
        devices = [self._device] if self._device.type == "cuda" else []
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
