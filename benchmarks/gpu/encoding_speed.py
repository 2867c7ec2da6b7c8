"""Passages a second on a GPU, the share of what it multiplies at most, and vectors beside those of the CPU.

    python benchmarks/gpu/encoding_speed.py --passages collection.tsv
    python benchmarks/gpu/encoding_speed.py --quick --size tiny

The passages are those of a file (id TAB text), each repeated ten times, or CACM's. Measured are the processes that
tokenise, the model on tokens, in fp32 and bf16, and the whole pipeline of `tasb encode`, which reads, tokenises ahead,
encodes and writes: how long it takes to the first vectors, how fast it is then, and where its time goes. The goals,
15,000 passages a second and 10 s to the first vectors, are floors where the GPU is one of those that they were set for.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import checkout  # noqa: F401 - before the imports of ours
import numpy as np
import torch
from measuring import Options, Results, seconds_of
from model_files import add_model_options, found_device, model_to_measure, padding, synchronize
from pipeline_clock import PipelineClock
from real_texts import passages
from settings import encoder_card

from pyserini_tasb.encoding.corpus import encode_corpus
from pyserini_tasb.encoding.encoders import TextEncoder
from pyserini_tasb.encoding.job import EncodeJob
from pyserini_tasb.encoding.plan import plan_corpus
from pyserini_tasb.encoding.tokens import TokenisedUnits, Tokenisers
from pyserini_tasb.formats.collections import Corpus
from pyserini_tasb.formats.fields import Fields
from pyserini_tasb.models.backends import compute_type
from pyserini_tasb.models.tokenizers import open_prefixed_tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

COLUMNS = {
    "passages/s": ",.0f",
    "seconds": ".2f",
    "core µs": ".0f",
    "TFLOP/s": ".1f",
    "% of the peak": ".1f",
    "least cosine": ".6f",
    "GiB": ".2f",
    "% computing": ".1f",
    "% copies": ".1f",
    "% without tokens": ".1f",
}
SHARES = ("% computing", "% copies", "% without tokens")  # of the pipeline's time
MOST_IDLE = 15  # per cent of the time, which no part can be blamed for
LEAST_COSINE = 0.9999
FP32_EVERY = 4  # it is slow, and less of interest
TRIALS = 7
TOKENISED, UNIT = 16_384, 1_024  # passages that each set of processes tokenises, and how many at a time
# What the pipeline is to reach on these GPUs, with a model of DistilBERT's size in bf16. MS MARCO's passages have so
# many tokens on average, and longer ones count as more than one.
GOAL, GOAL_TOKENS, GOAL_ON = 15_000, 80, ("H100", "H200", "GH200", "B100", "B200", "GB200")
MOST_SECONDS_TO_VECTORS = 10.0  # on any GPU


def main() -> int:
    """Measure, write after each row."""
    parser = Options(
        __file__,
        __doc__,
        quick={"texts": 100, "repeat": 2, "compared": 16, "matrix": 256, "size": "tiny", "no_start_up": True},
    )
    add_model_options(parser)
    parser.add_argument("--passages", type=Path, help="id TAB text; default: CACM's abstracts")
    parser.add_argument("--texts", type=int, default=8_000, help="passages read at most (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=10, help="times that each is encoded (default: %(default)s)")
    parser.add_argument("--compared", type=int, default=128, help="passages encoded on the CPU (default: %(default)s)")
    parser.add_argument("--matrix", type=int, default=8_192, help="rows of the peak's matrices (default: %(default)s)")
    parser.add_argument("--no-start-up", action="store_true", help="run the pipeline in this process, loaded and warm")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        given = json.loads(arguments.child)
        Path(given.pop("report")).write_text(json.dumps(run_pipeline(**given)), encoding="utf-8")
        return 0
    device = found_device(arguments.device)
    results = Results(arguments, COLUMNS)
    texts = passages(arguments.passages, arguments.texts)
    with model_to_measure(arguments, texts) as (model, folder):
        measure(arguments, device, model, folder, texts, results)
    return results.finish()


def measure(
    arguments: argparse.Namespace, device: str, model: Path, folder: Path, texts: list[str], results: Results
) -> None:
    """Add all rows."""
    card = encoder_card(model)
    precisions = {"fp32": torch.float32, "bf16": compute_type("bf16", device)}
    if precisions["bf16"] is not torch.bfloat16:
        results.skip("bf16", f"{device} has no fast bf16")
        del precisions["bf16"]
    peaks = {name: peak(kind, arguments.matrix, device) for name, kind in precisions.items()}
    results.rows |= {f"GEMM {name}": {"TFLOP/s": found / 1e12, "% of the peak": 100.0} for name, found in peaks.items()}
    results.write()
    expected = plain_vectors(model, texts[: arguments.compared], card.passage_max_length)
    repeated = texts * arguments.repeat
    corpus = folder / "all.tsv"
    corpus.write_text("".join(f"{number}\t{text}\n" for number, text in enumerate(repeated)), encoding="utf-8")
    token_ids: list[list[int]] = []
    for name in precisions:
        encoder = TextEncoder(card.model_copy(update={"precision": name}), device, backend="torch")
        if not token_ids:
            token_ids = tokens_of(encoder, repeated, card.passage_max_length, results)
            add_tokenising(model, card.passage_max_length, corpus, results, most=TOKENISED)
        found = encoder.encode(texts[: arguments.compared], max_length=card.passage_max_length)
        some = token_ids[::FP32_EVERY] if name == "fp32" else token_ids
        results.rows[f"tokens to vectors, {name}"] = {
            **speed(encoder, some, device, peaks[name], model),
            "least cosine": least_cosine(found, expected),
        }
        results.write()
        del encoder
    add_padded(card, device, list(precisions)[-1], token_ids, results)
    cosine = float(results.rows["tokens to vectors, fp32"]["least cosine"])
    results.floor("fp32 vectors beside the CPU's, least cosine", cosine, least=LEAST_COSINE)
    add_onnxruntime(card, device, token_ids, expected, texts[: arguments.compared], results)
    measured = add_pipeline(card, device, list(precisions)[-1], corpus, results, alone=not arguments.no_start_up)
    judge(measured, len(repeated), sum(map(len, token_ids)), device, arguments, results)


def peak(kind: torch.dtype, size: int, device: str) -> float:
    """The most operations a second in products of square matrices: an addition is one, a multiplication another."""
    left, right = (torch.randn(size, size, device=device).to(kind) for _ in range(2))

    def multiply() -> None:
        left @ right
        synchronize(device)

    multiply()
    return 2 * size**3 / min(seconds_of(multiply) for _ in range(TRIALS))


def plain_vectors(model: Path, texts: Sequence[str], max_length: int) -> NDArray[np.float32]:
    """First tokens' vectors [texts, dimension] as transformers computes them, on the CPU in fp32."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, transformer = AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model).eval()
    found = []
    with torch.inference_mode():
        for start in range(0, len(texts), 32):
            some = list(texts[start : start + 32])
            batch = tokenizer(some, padding=True, truncation=True, max_length=max_length, return_tensors="pt")
            found.append(transformer(batch["input_ids"], batch["attention_mask"]).last_hidden_state[:, 0].numpy())
    return np.concatenate(found)


def least_cosine(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The least cosine of two vectors of one text."""
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return float(((found * expected).sum(axis=1) / lengths).min())


def tokens_of(encoder: TextEncoder, texts: list[str], max_length: int, results: Results) -> list[list[int]]:
    """The token ids of all texts."""
    token_ids: list[list[int]] = encoder.tokenizer(
        texts, truncation=True, max_length=max_length, return_attention_mask=False, return_token_type_ids=False
    )["input_ids"]
    average = sum(map(len, token_ids)) / len(token_ids)
    results.note(f"{len(texts):,} passages of {average:.1f} tokens on average")
    return token_ids


def add_tokenising(model: Path, max_length: int, path: Path, results: Results, *, most: int) -> None:
    """Rows of the first pass over a corpus, and of processes that read, check and tokenise it.

    Args:
        model: the folder of the tokenizer.
        max_length: tokens kept of a passage.
        path: a corpus.
        results: gets the rows.
        most: passages to tokenise.
    """
    corpus = Corpus((str(path),))
    start = time.perf_counter()
    plan = plan_corpus(corpus, UNIT, path.name)
    seconds = time.perf_counter() - start
    results.rows["reading once, checks"] = {"passages/s": plan.records / seconds, "seconds": seconds}
    tokenizer = open_prefixed_tokenizer(model, prefix="", max_length=max_length)
    units = range(min(len(plan.marks), -(-most // UNIT)))
    count = min(plan.records, len(units) * UNIT)
    for tokenisers in dict.fromkeys((Tokenisers(1, 1), Tokenisers(2, 1), Tokenisers.beside("cuda", corpus))):
        with TokenisedUnits(plan, tokenisers) as tokenised:
            tokenised.begin(tokenizer, (str(path),), Fields())
            deque(tokenised.units(units[: tokenisers.processes]), maxlen=0)  # until all have begun
            start, used = time.perf_counter(), core_seconds(tokenised.pids)
            deque(tokenised.units(units), maxlen=0)
            seconds, used = time.perf_counter() - start, core_seconds(tokenised.pids) - used
        results.rows[f"texts to tokens, {tokenisers.processes} x {tokenisers.threads}"] = {
            "passages/s": count / seconds,
            "seconds": seconds,
            "core µs": 1e6 * used / count,
        }
        results.write()
    results.note("texts to tokens, P x T: P processes of T threads each; core µs: of one core, a passage")


def core_seconds(pids: Sequence[int]) -> float:
    """Seconds of a core that processes have used so far, in all their threads."""
    # After the name, which may have spaces in it, come the state and 10 others before user and system time.
    fields = (Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split() for pid in pids)
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


def speed(encoder: TextEncoder, token_ids: list[list[int]], device: str, most: float, model: Path) -> dict[str, float]:
    """Passages a second after a warm-up with some 2,000 of them, and the share of the peak."""
    from transformers import AutoConfig

    encoder.encode_tokens(token_ids[:: max(1, len(token_ids) // 2_000)])
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    seconds = seconds_of(lambda: encoder.encode_tokens(token_ids))
    rate = operations(AutoConfig.from_pretrained(model), [len(ids) for ids in token_ids]) / seconds
    memory = {"GiB": torch.cuda.max_memory_allocated(device) / 2**30} if on_gpu else {}
    return {
        "passages/s": len(token_ids) / seconds,
        "seconds": seconds,
        "TFLOP/s": rate / 1e12,
        "% of the peak": 100 * rate / most,
        **memory,
    }


def add_padded(card: Any, device: str, precision: str, token_ids: list[list[int]], results: Results) -> None:
    """A row of the model on tokens with their padding, which a GPU in half precision leaves out otherwise."""
    if torch.device(device).type != "cuda" or precision == "fp32":
        results.skip("with padding", "only a GPU packs texts, and not in fp32")
        return
    with padding():
        encoder = TextEncoder(card.model_copy(update={"precision": precision}), device, backend="torch")
        encoder.encode_tokens(token_ids[:: max(1, len(token_ids) // 2_000)])
    seconds = seconds_of(lambda: encoder.encode_tokens(token_ids))
    row = {"passages/s": len(token_ids) / seconds, "seconds": seconds}
    results.rows[f"tokens to vectors, {precision}, with padding"] = row
    results.write()


def operations(config: Any, lengths: Sequence[int]) -> float:
    """The operations that these texts need in products of matrices, without padding.

    The last layer needs only the first token's queries, output and feed-forward network.

    Args:
        config: of a BERT or a DistilBERT.
        lengths: tokens of each text.
    """
    d, layers = config.hidden_size, config.num_hidden_layers
    wide = getattr(config, "hidden_dim", None) or config.intermediate_size
    tokens, squares, texts = sum(lengths), sum(length**2 for length in lengths), len(lengths)
    whole = 2 * tokens * (4 * d * d + 2 * d * wide) + 4 * squares * d
    last = 2 * tokens * 2 * d * d + 2 * texts * (2 * d * d + 2 * d * wide) + 4 * tokens * d
    return float((layers - 1) * whole + last)


def add_onnxruntime(
    card: Any,
    device: str,
    token_ids: list[list[int]],
    expected: NDArray[np.float32],
    texts: list[str],
    results: Results,
) -> None:
    """A row of ONNX Runtime, if it is installed with all that an export needs."""
    what = "ONNX Runtime"
    if not all(results.has(package, what, "onnx") for package in ("onnxruntime", "onnx", "onnxscript", "pydantic")):
        return
    import onnxruntime

    if device.startswith("cuda") and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        results.skip(what, "this onnxruntime is a build for the CPU (docs/gpu.md)")
        return
    from pyserini_tasb.encoding.export_accuracy import InaccurateError
    from pyserini_tasb.recipes.types import EncoderCard

    try:
        encoder = TextEncoder(EncoderCard.model_validate(card.values), device, backend="onnx")
    except InaccurateError as error:  # random weights make nearly equal vectors, whose order rounding changes
        results.skip(what, f"its export is refused: {error.found}; give --model")
        return
    (provider, *_) = encoder._models.at("fp32")._graph._session.get_providers()  # noqa: SLF001 - nothing else tells
    wanted = "CUDAExecutionProvider" if device.startswith("cuda") else "CPUExecutionProvider"
    if provider != wanted:
        results.skip(what, f"it computes with {provider}, not with {wanted}")
        return
    encoder.encode_tokens(token_ids[:64])
    some = token_ids[: len(token_ids) // 4]
    seconds = seconds_of(lambda: encoder.encode_tokens(some))
    found = encoder.encode(texts, max_length=card.passage_max_length)
    results.rows[f"tokens to vectors, ONNX Runtime fp32 ({provider})"] = {
        "passages/s": len(some) / seconds,
        "seconds": seconds,
        "least cosine": least_cosine(found, expected),
    }
    results.write()


def add_pipeline(
    card: Any, device: str, precision: str, corpus: Path, results: Results, *, alone: bool
) -> dict[str, float]:
    """Rows of the pipeline of `tasb encode`, `alone` in a process of its own; what `PipelineClock.report` says."""
    report = corpus.with_name("report.json")
    given = {
        "card": card.values | {"precision": precision},
        "corpus": str(corpus),
        "output": str(corpus.with_name("vectors")),
        "device": device,
        "started": time.time(),
    }
    if alone:
        command = [sys.executable, __file__, "--child", json.dumps(given | {"report": str(report)})]
        subprocess.run(command, check=True)
        measured: dict[str, float] = json.loads(report.read_text(encoding="utf-8"))
    else:
        measured = run_pipeline(**given)
    if alone:
        results.rows["tasb encode: to the first vectors"] = {"seconds": measured["to the first vectors"]}
    results.rows[f"tasb encode, {precision}, from then on"] = {
        "passages/s": measured["passages"] / measured["seconds"],
        "seconds": measured["seconds"],
        **{name: measured[name] for name in SHARES},
    }
    results.write()
    return measured


def run_pipeline(card: dict[str, Any], corpus: str, output: str, device: str, started: float) -> dict[str, float]:
    """Encode as `tasb encode` does; what `PipelineClock.report` says."""
    made = encoder_card(**card)
    job = EncodeJob(
        encoder="measured",
        card=made,
        card_digest="measured",
        kind="passage",
        corpus=(corpus,),
        fields=Fields(),
        output=Path(output),
        max_length=None,
        precision=made.precision,
        dtype="float16",
        device=device,
        backend="torch",
    )
    with PipelineClock(started) as clock:
        encode_corpus(job)
    return clock.report()


def judge(
    measured: dict[str, float], passages: int, tokens: int, device: str, arguments: argparse.Namespace, results: Results
) -> None:
    """Say what limits the pipeline; on GPUs, compare it with the goals."""
    results.note(limit(measured))
    if torch.device(device).type != "cuda" or arguments.quick:
        return
    if not arguments.no_start_up:
        results.floor("seconds to the first vectors", measured["to the first vectors"], most=MOST_SECONDS_TO_VECTORS)
    name = torch.cuda.get_device_name(device)
    if any(chip in name for chip in GOAL_ON) and arguments.size == "distilbert" and arguments.model is None:
        found = measured["passages"] / measured["seconds"] * tokens / passages / GOAL_TOKENS
        results.floor(f"tasb encode, passages of {GOAL_TOKENS} tokens a second", found, least=GOAL)


def limit(measured: dict[str, float]) -> str:
    """A sentence about what the pipeline waits for most."""
    busy, copies, tokens = (measured[name] for name in SHARES)
    idle = 100 - busy - copies
    if idle < MOST_IDLE:
        what = "the kernels: the GPU or CPU computes nearly all the time" if busy > copies else "the copies"
    elif tokens > idle / 2:
        what = "the tokens: more cores would help"
    else:
        what = "Python, which hands batches over and takes vectors back, or the disk"
    shares = f"{busy:.0f} % computing, {copies:.0f} % copies, {tokens:.0f} % without tokens"
    return f"the pipeline's limit: {what} ({shares})"


if __name__ == "__main__":
    sys.exit(main())
