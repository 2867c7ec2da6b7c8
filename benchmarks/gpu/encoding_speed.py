"""Passages a second on a GPU, the share of what it multiplies at most, and vectors beside those of the CPU.

    python benchmarks/gpu/encoding_speed.py --passages collection.tsv
    python benchmarks/gpu/encoding_speed.py --quick --size tiny

The passages are those of a file (id TAB text), or CACM's, repeated as often as needed. Measured are the processes that
tokenise, the model on tokens, in fp32 and bf16, and the whole pipeline of `tasb encode`, which reads, tokenises ahead,
encodes and writes: how long it takes to the first vectors, how fast it is once it flows, and where its time goes
(pipeline_clock.py). The goals, 15,000 passages a second and 10 s to the first vectors, are floors where the GPU is one
of those that they were set for. ONNX Runtime comes last, in a process of its own: whatever it does, other rows stay.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
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
from pipeline_clock import SHARES, PipelineClock
from real_texts import passages
from settings import encoder_card
from time_left import TimeLeft, add_limit_option

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
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

COLUMNS = {
    "passages/s": ",.0f",
    "seconds": ".2f",
    "core µs": ".0f",
    "TFLOP/s": ".1f",
    "% of the peak": ".1f",
    "least cosine": ".6f",
    "GiB": ".2f",
    **dict.fromkeys(SHARES, ".1f"),
}
MOST_IDLE = 15  # per cent of the time, which no part can be blamed for
LEAST_COSINE = 0.9999
FP32_EVERY = 4  # it is slow, and less of interest
TRIALS = 7
WARM, ROW_SECONDS = 2_000, 6  # passages of a warm-up, and seconds of a row
TOKENISED, UNIT = 16_384, 1_024  # passages that each set of processes tokenises, and how many at a time
# What the processes of the pipeline hold ready is encoded in this share of the time: it hides little of what they lack.
# A unit is several batches of the fastest GPU, or takes at least this share of the time.
HELD, MOST_IN_UNIT, LEAST_SHARE = 1 / 16, 16_384, 1 / 24
PIPELINE_SECONDS = 12.0
STARTING, ONNX_SECONDS = 15, 10  # of the pipeline until it flows, and at least of ONNX Runtime
# What the pipeline is to reach on these GPUs, with a model of DistilBERT's size in bf16. MS MARCO's passages have so
# many tokens on average, and longer ones count as more than one.
GOAL, GOAL_TOKENS, GOAL_ON = 15_000, 80, ("H100", "H200", "GH200", "B100", "B200", "GB200")
MOST_SECONDS_TO_VECTORS = 10.0  # on any GPU


def main() -> int:
    """Measure, write after each row."""
    parser = Options(
        __file__,
        __doc__,
        quick={
            "texts": 100,
            "repeat": 2,
            "compared": 16,
            "matrix": 256,
            "size": "tiny",
            "no_start_up": True,
            "seconds": 0.5,
        },
    )
    add_model_options(parser)
    add_limit_option(parser)
    parser.add_argument("--passages", type=Path, help="id TAB text; default: CACM's abstracts")
    parser.add_argument("--texts", type=int, default=8_000, help="passages read at most (default: %(default)s)")
    parser.add_argument(
        "--repeat", type=int, default=10, help="times that each is a row's input (default: %(default)s)"
    )
    parser.add_argument("--compared", type=int, default=128, help="passages encoded on the CPU (default: %(default)s)")
    parser.add_argument("--matrix", type=int, default=8_192, help="rows of the peak's matrices (default: %(default)s)")
    help_of_seconds = "for which the pipeline is timed once it flows (default: %(default)s)"
    parser.add_argument("--seconds", type=float, default=PIPELINE_SECONDS, help=help_of_seconds)
    parser.add_argument("--no-start-up", action="store_true", help="run the pipeline in this process, loaded and warm")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        given = json.loads(arguments.child)
        report, measure_it = Path(given.pop("report")), CHILDREN[given.pop("child")]
        report.write_text(json.dumps(measure_it(**given)), encoding="utf-8")
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
    card, time_left = encoder_card(model), TimeLeft(arguments.limit, results)
    precisions = {"fp32": torch.float32, "bf16": compute_type("bf16", device)}
    if precisions["bf16"] is not torch.bfloat16:
        results.skip("bf16", f"{device} has no fast bf16")
        del precisions["bf16"]
    peaks = {name: peak(kind, arguments.matrix, device) for name, kind in precisions.items()}
    results.rows |= {f"GEMM {name}": {"TFLOP/s": found / 1e12, "% of the peak": 100.0} for name, found in peaks.items()}
    results.write()
    compared = texts[: arguments.compared]
    expected = plain_vectors(model, compared, card.passage_max_length)
    repeated = texts * arguments.repeat
    of = arguments.passages.name if arguments.passages else "CACM"
    token_ids: list[list[int]] = []
    for name in precisions:
        encoder = TextEncoder(card.model_copy(update={"precision": name}), device, backend="torch")
        if not token_ids:
            token_ids = tokens_of(encoder, repeated, card.passage_max_length, of, results)
            corpus = write_corpus(folder / "all.tsv", texts, len(repeated))
            add_tokenising(model, card.passage_max_length, corpus, results, most=TOKENISED)
        found = encoder.encode(compared, max_length=card.passage_max_length)
        some = token_ids[::FP32_EVERY] if name == "fp32" else token_ids
        results.rows[f"tokens to vectors, {name}"] = {
            **speed(encoder, some, device, peaks[name], model),
            "least cosine": least_cosine(found, expected),
        }
        results.write()
        del encoder
    cosine = float(results.rows["tokens to vectors, fp32"]["least cosine"])
    results.floor("fp32 vectors beside the CPU's, least cosine", cosine, least=LEAST_COSINE)
    rate = float(results.rows[f"tokens to vectors, {name}"]["passages/s"])

    def pipeline() -> None:
        seconds = min(arguments.seconds, max(1.0, (time_left.seconds - STARTING) / 3))
        processes = Tokenisers.beside(device, Corpus((str(corpus),))).processes
        count, unit = pipeline_size(rate, processes, seconds)
        write_corpus(corpus, texts, count)
        given = {"card": card.values | {"precision": name}, "device": device, "unit": unit, "seconds": seconds}
        measured = add_pipeline(given, corpus, peaks[name], results, alone=not arguments.no_start_up)
        judge(measured, device, arguments, results)

    time_left.add("tasb encode", pipeline, expected=0 if arguments.no_start_up else STARTING + 3)
    what = f"tokens to vectors, {name}, with padding"
    time_left.add(what, lambda: add_padded(what, card, device, name, token_ids, results), expected=ROW_SECONDS)
    add_onnxruntime(
        card, device, token_ids, compared, expected, folder, results, time_left, judged=bool(arguments.model)
    )


def write_corpus(path: Path, texts: Sequence[str], count: int) -> Path:
    """Write so many passages, the texts again and again; the path."""
    with path.open("w", encoding="utf-8") as file:
        for number, text in enumerate(itertools.islice(itertools.cycle(texts), count)):
            file.write(f"{number}\t{text}\n")
    return path


def pipeline_size(rate: float, processes: int, seconds: float) -> tuple[int, int]:
    """The passages that the pipeline needs in order to flow for so long, and the passages of a unit.

    Args:
        rate: passages that the model encodes in a second; the pipeline may be a little faster.
        processes: those that tokenise. Each holds a unit.
        seconds: how long to time; a part of that is profiled before.
    """
    unit = max(HELD * rate * seconds / processes, min(2_048, LEAST_SHARE * rate * seconds), 1)
    unit = min(MOST_IN_UNIT, math.ceil(unit))
    # What is held passes before the profile, and before the timing; a unit is begun before each, and one is on its way.
    return math.ceil(1.5 * rate * seconds) + 2 * (processes + 3) * unit, unit


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


def tokens_of(encoder: TextEncoder, texts: list[str], max_length: int, of: str, results: Results) -> list[list[int]]:
    """The token ids of all texts; a note says how many there are, and of which file."""
    token_ids: list[list[int]] = encoder.tokenizer(
        texts, truncation=True, max_length=max_length, return_attention_mask=False, return_token_type_ids=False
    )["input_ids"]
    average = sum(map(len, token_ids)) / len(token_ids)
    results.note(f"{len(texts):,} passages of {of}, {average:.1f} tokens on average")
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
    """Passages a second after a warm-up, and the share of the peak."""
    from transformers import AutoConfig

    token_ids = warmed(encoder, token_ids)
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


def warmed(encoder: TextEncoder, token_ids: list[list[int]]) -> list[list[int]]:
    """Encode some texts of all lengths, twice; as many texts as take about `ROW_SECONDS`, or all."""
    some = token_ids[:: max(1, len(token_ids) // WARM)]
    encoder.encode_tokens(some)
    rate = len(some) / seconds_of(lambda: encoder.encode_tokens(some))
    return token_ids[: max(len(some), int(rate * ROW_SECONDS))]


def add_padded(name: str, card: Any, device: str, precision: str, token_ids: list[list[int]], results: Results) -> None:
    """A row of the model on tokens with their padding, which a GPU in half precision leaves out otherwise."""
    if torch.device(device).type != "cuda" or precision == "fp32":
        results.skip("with padding", "only a GPU packs texts, and not in fp32")
        return
    with padding():
        encoder = TextEncoder(card.model_copy(update={"precision": precision}), device, backend="torch")
        some = warmed(encoder, token_ids)
    seconds = seconds_of(lambda: encoder.encode_tokens(some))
    results.rows[name] = {"passages/s": len(some) / seconds, "seconds": seconds}
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


def child(name: str, given: dict[str, Any], report: Path, seconds: float = math.inf) -> Any:
    """The answer of a function of `CHILDREN`, called in a process of its own.

    Raises:
        subprocess.SubprocessError: it failed, or took longer.
    """
    command = [sys.executable, __file__, "--child", json.dumps(given | {"child": name, "report": str(report)})]
    subprocess.run(command, check=True, timeout=None if math.isinf(seconds) else seconds)
    return json.loads(report.read_text(encoding="utf-8"))


def add_pipeline(given: dict[str, Any], corpus: Path, most: float, results: Results, *, alone: bool) -> dict[str, Any]:
    """Rows of the pipeline of `tasb encode`, `alone` in a process of its own; what `run_pipeline` says.

    Args:
        given: arguments of `run_pipeline`, without paths and `started`.
        corpus: the passages.
        most: the peak in this number format, in operations a second.
        results: gets the rows.
        alone: whether to start a process.
    """
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # the other process needs the memory
    given |= {"corpus": str(corpus), "output": str(corpus.with_name("vectors")), "started": time.time()}
    measured = child("pipeline", given, corpus.with_name("report.json")) if alone else run_pipeline(**given)
    if alone:
        results.rows["tasb encode: reading once"] = {"seconds": measured["reading once"]}
        results.rows["tasb encode: all else to the first vectors"] = {"seconds": measured["to the first vectors"]}
    rate = measured["operations"] / measured["seconds"]
    results.rows[f"tasb encode, {given['card']['precision']}, once it flows"] = {
        "passages/s": measured["passages"] / measured["seconds"],
        "seconds": measured["seconds"],
        "TFLOP/s": rate / 1e12,
        "% of the peak": 100 * rate / most,
        **{name: measured[name] for name in SHARES if name in measured},
    }
    results.write()
    return measured


def run_pipeline(
    card: dict[str, Any], corpus: str, output: str, device: str, unit: int, seconds: float, started: float
) -> dict[str, Any]:
    """Encode as `tasb encode` does; what `PipelineClock.report` says, the operations, and a fault if there was one."""
    from transformers import AutoConfig

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
    with PipelineClock(started, seconds) as clock:
        try:
            encode_corpus(job, unit)
        except KeyboardInterrupt:
            if not clock.done:
                raise
    if not clock.lengths:
        raise SystemExit("the corpus ended before the pipeline flowed: give more --seconds")
    lengths = np.concatenate(clock.lengths).tolist()
    config = AutoConfig.from_pretrained(card["model"])
    return {**clock.report(), "operations": operations(config, lengths), "fault": clock.fault}


def add_onnxruntime(
    card: Any,
    device: str,
    token_ids: list[list[int]],
    compared: list[str],
    expected: NDArray[np.float32],
    folder: Path,
    results: Results,
    time_left: TimeLeft,
    *,
    judged: bool,
) -> None:
    """A row of ONNX Runtime, if it is installed with all that an export needs, and the export works.

    Args:
        card: the model's card.
        device: the device to compute on.
        token_ids: passages to encode.
        compared: passages whose vectors are compared.
        expected: their vectors on the CPU.
        folder: a place for files.
        results: gets the row.
        time_left: the time for it.
        judged: whether an export that loses accuracy is refused, as `tasb export` does.
    """
    what = "ONNX Runtime"
    if not all(results.has(package, what, "onnx") for package in ("onnxruntime", "onnx", "onnxscript", "pydantic")):
        return
    (folder / "texts.json").write_text(json.dumps([token_ids, compared]), encoding="utf-8")
    given = {"card": card.values, "device": device, "texts": str(folder / "texts.json"), "judged": judged}
    given["folder"] = str(folder / "exported")

    def add() -> None:
        try:
            found = child("onnxruntime", given, folder / "onnxruntime.json", time_left.seconds)
        except subprocess.SubprocessError as error:
            late = isinstance(error, subprocess.TimeoutExpired)
            why = f"it took more than {error.timeout:.0f} s (--limit)" if late else "its process failed, see above"
            results.skip(what, why)
            return
        if "skipped" in found:
            results.skip(what, found["skipped"])
            return
        vectors = np.array(found.pop("vectors"), dtype=np.float32)
        name = f"tokens to vectors, ONNX Runtime fp32 ({found.pop('provider')})"
        results.rows[name] = found | {"least cosine": least_cosine(vectors, expected)}
        if not judged:
            results.note("ONNX Runtime: random weights; the check of `tasb export`, which ranks passages, was left out")
        results.write()

    time_left.add(what, add, expected=ONNX_SECONDS)


def run_onnxruntime(card: dict[str, Any], device: str, texts: str, folder: str, *, judged: bool) -> dict[str, Any]:
    """The provider, passages a second, and the vectors to compare; or why it is skipped."""
    import onnxruntime

    if device.startswith("cuda") and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return {"skipped": "this onnxruntime is a build for the CPU (docs/gpu.md)"}
    from pyserini_tasb.encoding.export import built_in_sample, export_model
    from pyserini_tasb.encoding.export_accuracy import InaccurateError
    from pyserini_tasb.recipes.types import EncoderCard

    Path(folder).mkdir()
    made = EncoderCard.model_validate(card)
    try:
        # Random weights make vectors that are nearly equal; rounding changes their order.
        export_model(made, Path(folder), "fp32", built_in_sample(), force=not judged)
        encoder = TextEncoder(made.model_copy(update={"model": folder}), device, backend="onnx")
        (provider, *_) = encoder._models.at("fp32")._graph._session.get_providers()  # noqa: SLF001 - nothing else tells
        wanted = "CUDAExecutionProvider" if device.startswith("cuda") else "CPUExecutionProvider"
        if provider != wanted:
            return {"skipped": f"it computes with {provider}, not with {wanted}"}
        token_ids, compared = json.loads(Path(texts).read_text(encoding="utf-8"))
        vectors = encoder.encode(compared, max_length=made.passage_max_length).tolist()
        some = warmed(encoder, token_ids)
        seconds = seconds_of(lambda: encoder.encode_tokens(some))
    except InaccurateError as error:
        return {"skipped": f"its export is refused: {error.found}"}
    except Exception as error:  # noqa: BLE001 - whatever it is, it is about ONNX Runtime
        return {"skipped": f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"}
    return {"provider": provider, "vectors": vectors, "passages/s": len(some) / seconds, "seconds": seconds}


CHILDREN: dict[str, Callable[..., Any]] = {"pipeline": run_pipeline, "onnxruntime": run_onnxruntime}


def judge(measured: dict[str, Any], device: str, arguments: argparse.Namespace, results: Results) -> None:
    """Say what limits the pipeline; on GPUs, compare it with the goals."""
    results.note(limit(measured))
    if torch.device(device).type != "cuda" or arguments.quick:
        return
    if not arguments.no_start_up:
        what = "seconds to the first vectors, without reading once"
        results.floor(what, measured["to the first vectors"], most=MOST_SECONDS_TO_VECTORS)
    name = torch.cuda.get_device_name(device)
    if any(chip in name for chip in GOAL_ON) and arguments.size == "distilbert" and arguments.model is None:
        found = measured["tokens"] / measured["seconds"] / GOAL_TOKENS
        results.floor(f"tasb encode, passages of {GOAL_TOKENS} tokens a second", found, least=GOAL)


def limit(measured: dict[str, Any]) -> str:
    """A sentence about what the pipeline waits for most."""
    if measured.get("fault"):
        return f"the pipeline's limit is not known: {measured['fault']}"
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
