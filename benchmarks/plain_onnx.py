"""int8 of ours beside what ONNX Runtime's own quantiser makes of the same model; exits with 1 below the floor.

    python benchmarks/plain_onnx.py --corpus collection.tsv --topics queries.tsv
    python benchmarks/avx2_only.py benchmarks/plain_onnx.py --corpus collection.tsv --topics queries.tsv

Plain is: the model traced by torch, `quantize_dynamic` with a scale for each column, once with weights of 8 and once of
7 bits (`reduce_range`), and a session with its default optimisations. All get the same token ids in the same batches,
and queries one by one, by turns; of the ratios to the better plain one in the same round the median counts. Ours is
what is taken where int8 is asked for. The model has DistilBERT's size and random weights.
Needs `pip install -e '.[demo,onnx]'`.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import torch
from encode import sample
from onnxruntime.quantization import QuantType, quantize_dynamic
from random_distilbert import model_to_measure
from transformers import AutoModel

from pyserini_tasb.encoding.encoders import TextEncoder
from pyserini_tasb.encoding.export_graph import quiet
from pyserini_tasb.environment.processor import processor, threads
from pyserini_tasb.models.checkpoints import find_checkpoint
from pyserini_tasb.models.onnx import TOKENS_PER_BATCH
from pyserini_tasb.models.tokenizers import vectors_by_length
from pyserini_tasb.recipes.lookup import encoder_card

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.models.backends import Texts

    Encode = Callable[[Sequence[Sequence[int]]], NDArray[np.float32]]
    Seconds = dict[str, dict[str, list[float]]]
    """Way → kind → of each round: of all passages together, or the median query's."""


FLOOR = 0.95  # of the better plain one's speed
OURS, PLAIN = "ours", {"plain, 8 bits": False, "plain, 7 bits": True}
KINDS: tuple[Texts, ...] = ("passages", "queries")
MAX_LENGTH = 256
OPSET = 17


class PlainInt8:
    """A model as ONNX Runtime's documentation quantises it, with CLS pooling.

    Args:
        model: the folder of a model of torch.
        path: where the graph is written.
        reduce_range: weights of 7 bits.
    """

    tokens_per_batch = TOKENS_PER_BATCH["cpu"]  # ours: the same batches

    def __init__(self, model: Path, path: Path, *, reduce_range: bool) -> None:
        ids = torch.ones((2, 8), dtype=torch.long)
        dynamic = {name: {0: "texts", 1: "tokens"} for name in ("input_ids", "attention_mask", "states")}
        exact = path.with_suffix(".fp32.onnx")
        module = AutoModel.from_pretrained(model, attn_implementation="eager", return_dict=False).eval()
        with quiet():
            torch.onnx.export(
                module, (ids, torch.ones_like(ids)), str(exact), input_names=["input_ids", "attention_mask"],
                output_names=["states"], dynamic_axes=dynamic, opset_version=OPSET, dynamo=False,
            )  # fmt: skip
            quantize_dynamic(
                exact, path, per_channel=True, reduce_range=reduce_range, weight_type=QuantType.QInt8
            )  # fmt: skip
        exact.unlink()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads()
        options.log_severity_level = 3  # errors
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def vectors(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors [texts, dimension] of token ids and mask [texts, tokens]."""
        states: NDArray[np.float32] = self._session.run(["states"], {"input_ids": ids, "attention_mask": mask})[0]
        return states[:, 0]


def main() -> int:
    """Measure by turns and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, type=Path, help="pid TAB text")
    parser.add_argument("--topics", required=True, type=Path, help="qid TAB text")
    parser.add_argument("--passages", type=int, default=96, help="spread over the collection (default: %(default)s)")
    parser.add_argument("--queries", type=int, default=64, help="one by one (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    arguments = parser.parse_args()
    torch.set_num_threads(threads())
    texts = (sample(arguments.corpus, arguments.passages), sample(arguments.topics, arguments.queries))
    with model_to_measure(None) as model, tempfile.TemporaryDirectory() as folder:
        return report(*measure(model, dict(zip(KINDS, texts, strict=True)), arguments.rounds, Path(folder)))


def measure(
    name: str, texts: dict[str, list[str]], rounds: int, folder: Path
) -> tuple[Seconds, dict[str, float], dict[str, str]]:
    """Seconds; way → least cosine with torch in fp32; kind → what ours computes in."""
    card = encoder_card(name)
    asked = card.model_copy(update={"precision": "int8"})
    exact = TextEncoder(card, backend="torch")
    ours = {kind: TextEncoder(asked, backend="onnx", texts=kind) for kind in KINDS}
    ids = {kind: [exact.tokenizer(text, truncation=True, max_length=MAX_LENGTH)["input_ids"] for text in texts[kind]]
           for kind in KINDS}  # fmt: skip
    ways: dict[str, dict[str, Encode]] = {OURS: {kind: encoder.encode_tokens for kind, encoder in ours.items()}}
    for way, reduce_range in PLAIN.items():
        graph = PlainInt8(find_checkpoint(card.model), folder / f"{reduce_range}.onnx", reduce_range=reduce_range)
        plain = partial(vectors_by_length, graph, pad_id=exact.pad_id, dimension=exact.dimension)
        ways[way] = dict.fromkeys(KINDS, plain)
    start = time.perf_counter()
    cosines = {way: min(least_cosine(encode[kind], exact.encode_tokens, ids[kind]) for kind in KINDS)
               for way, encode in ways.items()}  # fmt: skip
    print(f"measuring for about {(time.perf_counter() - start) * rounds:.0f} s at most")
    seconds: Seconds = {way: {kind: [] for kind in KINDS} for way in ways}
    for _, kind, way in itertools.product(range(rounds), KINDS, ways):
        batches = [ids[kind]] if kind == "passages" else [[query] for query in ids[kind]]
        times = [timed(ways[way][kind], batch) for batch in batches]
        seconds[way][kind].append(statistics.median(times))
    return seconds, cosines, {kind: encoder.computes() for kind, encoder in ours.items()}


def report(seconds: Seconds, cosines: dict[str, float], computes: dict[str, str]) -> int:
    """Print it; 1 if ours is below the floor."""
    medians = {way: {kind: statistics.median(times[kind]) for kind in KINDS} for way, times in seconds.items()}
    print(f"{processor()}, {threads()} threads; seconds for all passages, milliseconds for a query (p50)")
    print(f"{'':14} {'passages':>9} {'times':>6} {'a query':>9} {'times':>6} {'least cosine':>13}")
    missed = []
    ratios = {}
    for kind in KINDS:
        better = min(PLAIN, key=lambda way: medians[way][kind])
        for way in seconds:
            pairs = zip(seconds[better][kind], seconds[way][kind], strict=True)
            ratios[way, kind] = statistics.median(plain / own for plain, own in pairs)
        if ratios[OURS, kind] < FLOOR:
            missed.append(kind)
    for way in seconds:
        print(
            f"{way:14} {medians[way]['passages']:9.2f} {ratios[way, 'passages']:6.2f} "
            f"{1e3 * medians[way]['queries']:9.2f} {ratios[way, 'queries']:6.2f} {cosines[way]:13.6f}"
        )
    print("ours computes " + ", ".join(f"{kind} with {way}" for kind, way in computes.items()))
    for kind in missed:
        print(f"MISSED: {kind} at {ratios[OURS, kind]:.2f} times the better plain one's speed; wanted {FLOOR}")
    return int(bool(missed))


def least_cosine(encode: Encode, exact: Encode, ids: list[list[int]]) -> float:
    """Of all texts."""
    found, expected = encode(ids), exact(ids)
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return float(((found * expected).sum(axis=1) / lengths).min())


def timed(encode: Encode, ids: Sequence[Sequence[int]]) -> float:
    """Seconds."""
    start = time.perf_counter()
    encode(ids)
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
