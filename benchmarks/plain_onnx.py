"""int8 of ours beside what ONNX Runtime's own quantiser makes of the same model; exits with 1 below the floor.

    python benchmarks/plain_onnx.py --quick
    python benchmarks/plain_onnx.py --corpus collection.tsv --topics queries.tsv
    python benchmarks/avx2_only.py benchmarks/plain_onnx.py --corpus collection.tsv --topics queries.tsv

Plain is: the model traced by torch, `quantize_dynamic` with a scale for each column, once with weights of 8 and once of
7 bits (`reduce_range`), and a session with its default optimisations. All get the same token ids in the same batches,
and queries one by one, by turns; of the ratios to the better plain one in the same round the median counts. Ours is
what is taken where int8 is asked for. The model has DistilBERT's size and random weights.
Needs `pip install -e '.[demo,onnx]'`.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import torch
from measuring import Options, Results, by_turns, seconds_of, times
from onnxruntime.quantization import QuantType, quantize_dynamic
from random_distilbert import model_to_measure
from real_texts import add_text_options, passages, queries
from transformers import AutoModel

from pyserini_tasb.encoding.encoders import TextEncoder
from pyserini_tasb.encoding.export_graph import quiet
from pyserini_tasb.environment.processor import threads
from pyserini_tasb.models.checkpoints import find_checkpoint
from pyserini_tasb.models.onnx import TOKENS_PER_BATCH
from pyserini_tasb.models.queues import vectors_by_length
from pyserini_tasb.recipes.lookup import encoder_card

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.models.backends import Texts

    Encode = Callable[[Sequence[Sequence[int]]], NDArray[np.float32]]


FLOOR = 0.95  # of the better plain one's speed
OURS, PLAIN = "ours", {"plain, 8 bits": False, "plain, 7 bits": True}
KINDS: tuple[Texts, ...] = ("passages", "queries")
MAX_LENGTH = 256
OPSET = 17
COLUMNS = {
    **{f"{column}, {kind}": ".2f" for kind in KINDS for column in ("ms", "times plain")},
    "least cosine": ".6f",
}
# Seconds on the machine of `measuring.PROBES`: of a text by all three ways, and until all are exported.
PASSAGE, QUERY, EXPORTING = 0.1, 0.02, 50


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
    parser = Options(__file__, __doc__, quick={"passages": 48, "queries": 40, "rounds": 3})
    add_text_options(parser)
    parser.add_argument("--passages", type=int, default=96, help="spread over the collection (default: %(default)s)")
    parser.add_argument("--queries", type=int, default=64, help="one by one (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    arguments = parser.parse_args()
    torch.set_num_threads(threads())
    texts = {
        "passages": passages(arguments.corpus, arguments.passages),
        "queries": queries(arguments.topics)[: arguments.queries],
    }
    results = Results(arguments, COLUMNS)
    work = (1 + arguments.rounds) * (arguments.passages * PASSAGE + arguments.queries * QUERY)
    what = (
        f"models to export, {arguments.rounds} rounds of {arguments.passages} passages and {arguments.queries} queries"
    )
    results.expect(what, matrices=work, python=EXPORTING)
    with model_to_measure(None) as model, tempfile.TemporaryDirectory() as folder:
        measure(model, texts, arguments.rounds, Path(folder), results)
    return results.finish()


def measure(name: str, texts: dict[str, list[str]], rounds: int, folder: Path, results: Results) -> None:
    """Add a row for each way: seconds, and the least cosine with torch in fp32."""
    card = encoder_card(name)
    asked = card.model_copy(update={"precision": "int8"})
    exact = TextEncoder(card, backend="torch")
    ours = {kind: TextEncoder(asked, backend="onnx", texts=kind) for kind in KINDS}
    ids = {kind: exact.tokenizer(texts[kind], truncation=True, max_length=MAX_LENGTH)["input_ids"] for kind in KINDS}
    ways: dict[str, dict[str, Encode]] = {OURS: {kind: encoder.encode_tokens for kind, encoder in ours.items()}}
    for way, reduce_range in PLAIN.items():
        graph = PlainInt8(find_checkpoint(card.model), folder / f"{reduce_range}.onnx", reduce_range=reduce_range)
        plain = partial(vectors_by_length, graph, pad_id=exact.pad_id, dimension=exact.dimension)
        ways[way] = dict.fromkeys(KINDS, plain)
    for way, encode in ways.items():
        cosines = [least_cosine(encode[kind], exact.encode_tokens, ids[kind]) for kind in KINDS]
        results.rows[way] = {"least cosine": min(cosines)}
    batches = {"passages": [ids["passages"]], "queries": [[query] for query in ids["queries"]]}
    for kind in KINDS:
        calls = {way: partial(median_seconds, encode[kind], batches[kind]) for way, encode in ways.items()}
        seconds = by_turns(calls, rounds)
        better = min(PLAIN, key=lambda way: statistics.median(seconds[way]))
        for way, each in seconds.items():
            unit = len(texts[kind]) if kind == "passages" else 1
            results.rows[way] |= {
                f"ms, {kind}": 1e3 * statistics.median(each) / unit,
                f"times plain, {kind}": times(seconds[better], each),
            }
        ratio = results.rows[OURS][f"times plain, {kind}"][0]
        results.floor(f"int8 {kind}, times plain ONNX Runtime", ratio, least=FLOOR)
    computes = ", ".join(f"{kind} with {encoder.computes()}" for kind, encoder in ours.items())
    results.note(f"ours computes {computes}; milliseconds are of one text")


def least_cosine(encode: Encode, exact: Encode, ids: list[list[int]]) -> float:
    """The least cosine of a text's two vectors."""
    found, expected = encode(ids), exact(ids)
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return float(((found * expected).sum(axis=1) / lengths).min())


def median_seconds(encode: Encode, batches: list[list[list[int]]]) -> float:
    """The median of the batches."""
    return statistics.median(seconds_of(partial(encode, batch)) for batch in batches)


if __name__ == "__main__":
    sys.exit(main())
