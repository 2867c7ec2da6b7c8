"""Training as in the paper on a GPU: milliseconds a step, memory, losses beside the CPU's, and a run that is killed.

    python benchmarks/gpu/training_speed.py
    python benchmarks/gpu/training_speed.py --quick

The paper's configuration is paper.yaml: 30 and 200 tokens, TAS-Balanced batches, Margin-MSE of both teachers. Pairs and
their scores are random: how fast a step is does not depend on what it teaches. ColBERT, the teacher in the batch, is
made of the student's weights, and computes on the student's GPU: all is of one GPU.

Batches of 32 are also measured with the memory of the paper's GPU, with padding (the variable PYSERINI_TASB_PACKING),
without the teacher in the batch beside sentence-transformers' trainer with its MarginMSELoss, and at the end with
torch.compile. What matters most comes first; with `--limit`, rows that would take longer are skipped.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import checkout  # noqa: F401 - before the imports of ours
import numpy as np
import torch
from measuring import Options, Results
from model_files import add_model_options, found_device, model_to_measure, padding, synchronize
from peer_training import PEER, PeerRun, peer_is_installed, steps_of_peer
from real_texts import passages, queries
from settings import training_configuration
from time_left import TimeLeft, add_limit_option

from pyserini_tasb.data.cluster_file import write_clusters
from pyserini_tasb.data.pairs import pairs
from pyserini_tasb.models.backends import compute_type
from pyserini_tasb.models.colbert import new_colbert, save_colbert
from pyserini_tasb.models.on_gpu import ATTENTION, attention, has_flash_attention
from pyserini_tasb.models.tokenizers import load_tokenizer
from pyserini_tasb.reranking.scorers import ScoringOptions
from pyserini_tasb.reranking.transformer_scorers import ColBertScorer
from pyserini_tasb.training.assembly import assemble
from pyserini_tasb.training.batches import training_batches
from pyserini_tasb.training.checkpoints import CHECKPOINTS, OPTIMISER, WEIGHTS, CheckpointFolder, claimed
from pyserini_tasb.training.distributed import Processes
from pyserini_tasb.training.loop import BATCHES_AHEAD, finished_run
from pyserini_tasb.training.margins import BERT_CAT_MARGINS
from pyserini_tasb.training.step import Stepper
from pyserini_tasb.training.teachers import TEACHERS, ColBertTeacher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from settings import Settings

    from pyserini_tasb.training.assembly import Assembly
    from pyserini_tasb.training.step import StepReport
    from pyserini_tasb.training.teachers import TeacherRequest

COLUMNS = {
    "ms a step": ".1f",
    "pairs/s": ",.0f",
    "hours of 500,000 steps": ".1f",
    "GiB": ".2f",
    "warm-up s": ".1f",
    "seconds": ".1f",
}
KIND = "colbert-of-a-folder"  # of the teacher in the batch
PAPER_BATCH = 32
PAPER_STEPS = 500_000
# Bytes of the GPU that the paper trained on. CUDA itself, which torch does not count, takes about half a GiB of them;
# more than `MOST_OF_CUDA` is another program's.
SMALL_GPU, USUAL_OF_CUDA, MOST_OF_CUDA = 11 * 2**30, 2**29, 2 * 2**30
PAIRS_PER_QUERY, QUERIES_PER_CLUSTER = 8, 320
NOT_COUNTED = 5  # steps at the beginning: the warm-up
# Before a row is measured: of the first, and of those that start processes, import or compile something.
FIRST_SECONDS, KILLED_SECONDS, PEER_SECONDS, SECONDS_TO_COMPILE = 5, 20, 15, 25
MOST_DIFFERENCE = {"fp32": 1e-5, "bf16": 1e-3}
COMPARED_STEPS, COMPARED_BATCH, COMPARED_TOKENS = 4, 8, 64
KILLED_STEPS, CHECKPOINT_EVERY, SECONDS_TO_BEGIN = 16, 4, 60


def colbert_of_a_folder(request: TeacherRequest) -> ColBertTeacher:
    """ColBERT as `teacher.in_batch`, without the encoder card, which needs pydantic."""
    precision = "fp32" if request.student.compute is torch.float32 else "bf16"
    # Not `request.device`, which may be a second GPU.
    scorer = ColBertScorer(Path(request.model), ScoringOptions(request.student.device, precision))
    return ColBertTeacher(scorer, request.tokens(scorer.tokenizer))


def main() -> int:
    """Measure, write after each row."""
    TEACHERS.add(KIND, colbert_of_a_folder)
    quick = {"batches": [4], "steps": 3, "texts": 200, "size": "tiny"}
    parser = Options(__file__, __doc__, quick=quick)
    add_model_options(parser)
    add_limit_option(parser)
    parser.add_argument("--passages", type=Path, help="id TAB text; default: CACM's abstracts")
    parser.add_argument("--queries", type=Path, help="id TAB text; default: CACM's titles")
    parser.add_argument("--texts", type=int, default=20_000, help="passages read at most (default: %(default)s)")
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 96, 256], help="default: 32 96 256")
    parser.add_argument("--steps", type=int, default=20, help="that are counted (default: %(default)s)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        return train(json.loads(arguments.child))
    device = found_device(arguments.device)
    results = Results(arguments, COLUMNS)
    texts = passages(arguments.passages, arguments.texts)
    with model_to_measure(arguments, texts) as (model, folder):
        given = made(model, folder, texts, queries(arguments.queries)) | {"device": device}
        measure(given, folder, device, arguments, results)
    return results.finish()


def measure(given: dict[str, Any], folder: Path, device: str, arguments: argparse.Namespace, results: Results) -> None:
    """Add all rows for which there is time, in the order of what matters most."""
    time_left = TimeLeft(arguments.limit, results)
    steps, batches = arguments.steps, sorted(arguments.batches)
    usual = min(batches, key=lambda size: abs(size - PAPER_BATCH))
    on_gpu = torch.device(device).type == "cuda"
    paper = PaperRows(given, steps, device, results)

    def padded() -> None:
        with padding():
            add_speed(given, usual, steps, device, results, name=", with padding")

    time_left.add(f"batches of {usual}", lambda: paper.add(usual), expected=paper.seconds(usual))
    if on_gpu:
        small = functools.partial(add_small_gpu, given, steps, device, results)
        time_left.add(f"batches of {PAPER_BATCH}, at most 11 GiB", small, expected=paper.seconds(PAPER_BATCH))
    time_left.add("a run that is killed", lambda: add_killed_run(given, folder, results), expected=KILLED_SECONDS)
    for size in (each for each in batches if each != usual):
        time_left.add(f"batches of {size}", functools.partial(paper.add, size), expected=paper.seconds(size))
    row = paper.seconds(usual)
    time_left.add("losses beside the CPU's", lambda: add_losses(given, device, results), expected=row)
    if on_gpu:
        time_left.add(f"batches of {usual}, with padding", padded, expected=1.5 * row)
    time_left.add(PEER, lambda: add_peer(given, usual, steps, device, results), expected=PEER_SECONDS + 2 * row)
    if on_gpu:
        compiled = functools.partial(add_compiled, given, usual, steps, device, results)
        most = SECONDS_TO_COMPILE + row
        time_left.add(f"batches of {usual}, torch.compile", compiled, expected=row, most=most)
    else:
        results.skip("padding, 11 GiB and torch.compile", "only on a GPU")


class PaperRows:
    """Rows of the paper's batches, and how long such rows take.

    Args:
        given: keys of the configuration.
        steps: those that are counted.
        device: the device to train on.
        results: gets the rows.
    """

    def __init__(self, given: dict[str, Any], steps: int, device: str, results: Results) -> None:
        self._given, self._steps, self._device, self._results = given, steps, device, results
        self._took: dict[int, tuple[float, float]] = {}  # batch → seconds of its row, and of the steps in it

    def add(self, batch_size: int) -> None:
        """Add a row."""
        start = time.monotonic()
        add_speed(self._given, batch_size, self._steps, self._device, self._results)
        row = self._results.rows.get(f"batches of {batch_size}")
        if row:
            in_steps = float(row["ms a step"]) / 1e3 * (NOT_COUNTED + self._steps)
            self._took[batch_size] = (time.monotonic() - start, in_steps)

    def seconds(self, batch_size: int) -> float:
        """The seconds that a row will probably take: a pair takes no longer than in other batches."""
        known = [row + in_steps * (batch_size / size - 1) for size, (row, in_steps) in self._took.items()]
        return min(known, default=FIRST_SECONDS)


def made(model: Path, folder: Path, texts: list[str], asked: list[str]) -> dict[str, Any]:
    """Pairs, clusters and ColBERT in `folder`; the keys of the configuration that name them."""
    random = np.random.default_rng(1)
    files = {"corpus": texts, "topics": asked}
    for name, lines in files.items():
        content = "".join(f"{name[0]}{number}\t{text}\n" for number, text in enumerate(lines))
        (folder / f"{name}.tsv").write_text(content, encoding="utf-8")
    with (folder / "scored.tsv").open("w", encoding="utf-8") as out:
        for query in range(len(asked)):
            for _ in range(PAIRS_PER_QUERY):
                positive, negative = random.choice(len(texts), 2, replace=False)
                scores = f"{random.normal(5, 2):.3f}\t{random.normal(0, 2):.3f}"
                out.write(f"{scores}\tt{query}\tc{positive}\tc{negative}\n")
    sources = {"corpus": folder / "corpus.tsv", "topics": folder / "topics.tsv"}
    pairs(folder / "scored.tsv", **sources, output=folder / "pairs", allow_reversed=True)
    parts = np.array_split(random.permutation(len(asked)), max(1, len(asked) // QUERIES_PER_CLUSTER))
    write_clusters(folder / "clusters.tsv", [[f"t{query}" for query in part] for part in parts])
    colbert = folder / "colbert"
    colbert.mkdir()
    save_colbert(colbert, new_colbert(model, seed=1))
    load_tokenizer(model).save_pretrained(colbert)
    return {
        "student__model": str(model),
        "data__pairs": str(folder / "pairs"),
        "data__clusters": str(folder / "clusters.tsv"),
        "teacher__in_batch": str(colbert),
        "teacher__kind": KIND,
        # Random weights have margins of any size. These are of the size of the published BERT_CAT's.
        "teacher__rescale": {"deviation": BERT_CAT_MARGINS.deviation, "mean": None},
        "output": str(folder / "run"),
    }


def trained(
    config: Settings, steps: int, prepare: Callable[[Assembly[Any]], None] = lambda _: None
) -> Iterator[StepReport]:
    """The report of each of the first steps, one after the other; `prepare` is called before the first."""
    parts = assemble(config, Processes())
    stepper = Stepper(parts, parts.measured_margins())
    prepare(parts)
    batches = training_batches(
        parts.store,
        parts.sampler,
        parts.tokenising,
        start=0,
        stop=steps,
        workers=config.workers,
        ahead=BATCHES_AHEAD,
    )
    with closing(batches):
        for step, batch in enumerate(batches):
            yield stepper.run(step, [batch])


def add_losses(given: dict[str, Any], device: str, results: Results) -> None:
    """Floors of the mean loss of some steps without dropout, beside the CPU's in fp32."""
    same = given | {
        "batch_size": COMPARED_BATCH,
        "student__passage_max_length": COMPARED_TOKENS,
        "student__dropout": 0.0,
        "student__attention_dropout": 0.0,
        "workers": 0,
    }

    def losses(**changes: str) -> list[float]:
        return [report.loss for report in trained(training_configuration(**same | changes), COMPARED_STEPS)]

    expected = losses(device="cpu", precision="fp32")
    for precision, most in MOST_DIFFERENCE.items():
        if precision == "bf16" and compute_type("bf16", device) is not torch.bfloat16:
            results.skip("losses in bf16", f"{device} has no fast bf16")
            continue
        found = losses(device=device, precision=precision)
        difference = abs(statistics.mean(found) / statistics.mean(expected) - 1)
        results.floor(f"mean loss in {precision} beside the CPU's in fp32, relative difference", difference, most=most)
    results.write()


def add_speed(
    given: dict[str, Any],
    batch_size: int,
    steps: int,
    device: str,
    results: Results,
    *,
    name: str = "",
    prepare: Callable[[Assembly[Any]], None] = lambda _: None,
) -> None:
    """A row for a size of batches, and whether the student packs texts."""
    config = training_configuration(**given | {"batch_size": batch_size})
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    ends, packed = [], []

    def begin(parts: Assembly[Any]) -> None:
        prepare(parts)
        packed.append(parts.student.packed)
        ends.append(time.perf_counter())

    try:
        for _ in trained(config, NOT_COUNTED + steps, begin):
            synchronize(device)
            ends.append(time.perf_counter())
    except torch.OutOfMemoryError:
        results.skip(f"batches of {batch_size}{name}", "the GPU has not enough memory")
        return
    if not name and has_flash_attention(torch.device(device)):
        results.floor(f"batches of {batch_size} are packed", float(*packed), least=1)
    memory = {"GiB": torch.cuda.max_memory_reserved(device) / 2**30} if on_gpu else {}
    results.rows[f"batches of {batch_size}{name}"] = {**speed(ends, batch_size), **memory}
    results.write()


def speed(ends: list[float], batch_size: int) -> dict[str, float]:
    """Columns of a row, from the clock's seconds before the first step and at the end of each."""
    seconds = statistics.median(np.diff(ends)[NOT_COUNTED:])
    hours = {"hours of 500,000 steps": PAPER_STEPS * seconds / 3_600} if batch_size == PAPER_BATCH else {}
    return {
        "ms a step": 1e3 * seconds,
        "pairs/s": batch_size / seconds,
        **hours,
        "warm-up s": ends[NOT_COUNTED] - ends[0],
    }


def add_peer(given: dict[str, Any], batch_size: int, steps: int, device: str, results: Results) -> None:
    """Rows of both trainers without a teacher in the batch, and how many times as fast ours is."""
    if not peer_is_installed(results, PEER):
        return
    if torch.cuda.device_count() > 1:
        results.skip(PEER, "it would use all GPUs of this machine")
        return
    pairwise = given | {"loss__in_batch": None, "sampling__strategy": "random"}
    name = ", Margin-MSE of pairs"
    add_speed(pairwise, batch_size, steps, device, results, name=name)
    config = training_configuration(**pairwise)
    begin = time.perf_counter()
    lines = steps_of_peer(
        PeerRun(
            model=given["student__model"],
            pairs=given["data__pairs"],
            output=f"{given['output']}-{PEER}",
            seed=config.seed,
            batch_size=batch_size,
            steps=NOT_COUNTED + steps,
            max_length=config.student.passage_max_length,
            precision="bf16" if compute_type("bf16", device) is torch.bfloat16 else "fp32",
            device=device,
        )
    )
    row = f"batches of {batch_size}{name}"
    theirs = speed([begin, *(line["seconds"] for line in lines)], batch_size)
    del theirs["warm-up s"]  # with its imports, which ours has done before
    results.rows[f"{row}, {PEER}"] = theirs
    times = theirs["ms a step"] / float(results.rows[row]["ms a step"])
    results.note(f"{row}: {times:.2f} times as fast as {PEER}")
    results.write()


def add_compiled(given: dict[str, Any], batch_size: int, steps: int, device: str, results: Results) -> None:
    """A row with the student's layers compiled."""
    name = ", torch.compile"

    def prepare(parts: Assembly[Any]) -> None:
        compile_layers(parts.student)

    try:
        add_speed(given, batch_size, steps, device, results, name=name, prepare=prepare)
    except Exception as error:  # noqa: BLE001 - compilers fail in ways of their own, and the other rows count
        results.skip(f"batches of {batch_size}{name}", str(error).partition("\n")[0] or type(error).__name__)


def compile_layers(student: Any, backend: str = "inductor") -> None:
    """Compile the layers that are all the same, for any number of tokens: one is compiled, and all use it.

    Attention stays as it is: its kernel is one operator. So does the last layer, which computes only the first token.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, torch.compiler.disable(attention))
    (layers,) = (each for each in student.model.transformer.modules() if isinstance(each, torch.nn.ModuleList))
    for layer in layers[:-1]:
        layer.compile(dynamic=True, backend=backend)


def add_small_gpu(given: dict[str, Any], steps: int, device: str, results: Results) -> None:
    """The row for batches of 32 with no more memory than the paper's GPU had for torch and CUDA together."""
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info(device)
    of_cuda = memory_of_cuda(total - free - torch.cuda.memory_reserved(device))
    torch.cuda.set_per_process_memory_fraction(min(1.0, (SMALL_GPU - of_cuda) / total), device)
    try:
        add_speed(given, PAPER_BATCH, steps, device, results, name=", at most 11 GiB")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    results.note(
        f"at most 11 GiB: {(SMALL_GPU - of_cuda) / 2**30:.2f} for torch, {of_cuda / 2**30:.2f} for CUDA itself"
    )


def memory_of_cuda(used: int) -> int:
    """The bytes that CUDA takes for itself, where so many are used that torch knows nothing of.

    Where other programs use the GPU too, nothing tells what is whose, and a usual number is taken.
    """
    return used if 0 < used < MOST_OF_CUDA else USUAL_OF_CUDA


def add_killed_run(given: dict[str, Any], folder: Path, results: Results) -> None:
    """A row and a floor of a run that is killed and goes on: its last checkpoint has the bytes of one that was not."""
    start = time.perf_counter()
    same = kill_and_compare(given, folder / "as-usual", deterministic=False)
    how = ""
    if not same:
        how = ", with torch.use_deterministic_algorithms"
        results.note("the kernels that torch chooses by default gave other bytes after the kill")
        same = kill_and_compare(given, folder / "deterministic", deterministic=True)
    results.rows[f"a run of {KILLED_STEPS} steps, killed and resumed"] = {"seconds": time.perf_counter() - start}
    results.floor(f"killed and resumed, the same bytes{how}", float(same), least=1)
    results.write()


def kill_and_compare(given: dict[str, Any], folder: Path, *, deterministic: bool) -> bool:
    """True if the last checkpoints of both runs have the same bytes."""
    last = {}
    folder.mkdir()
    for name in ("whole", "killed"):
        changes = given | {
            "output": str(folder / name),
            "batch_size": COMPARED_BATCH,
            "student__passage_max_length": COMPARED_TOKENS,
            "max_steps": KILLED_STEPS,
            "schedule__warmup_steps": CHECKPOINT_EVERY,
            "workers": 0,
            "checkpoint__every": CHECKPOINT_EVERY,
            "log_every": 1,
        }
        run = {"changes": changes, "deterministic": deterministic}
        checkpoints = CheckpointFolder(folder / name / CHECKPOINTS, keep=2)
        command = [sys.executable, __file__, "--child", json.dumps(run)]
        if name == "killed":
            kill_after_checkpoint(command, checkpoints)
        if name == "whole" and not deterministic:
            train(run)  # here: a process takes seconds to start
        else:
            subprocess.run(command, check=True)
        last[name] = [(checkpoints.path(KILLED_STEPS) / file).read_bytes() for file in (WEIGHTS, OPTIMISER)]
    return last["whole"] == last["killed"]


def kill_after_checkpoint(command: list[str], checkpoints: CheckpointFolder) -> None:
    """Start a run, and kill it as soon as its first checkpoint exists."""
    process = subprocess.Popen(command)
    end = time.monotonic() + SECONDS_TO_BEGIN
    try:
        while not checkpoints.steps():
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"the run wrote no checkpoint (status {process.poll()})")
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    if KILLED_STEPS in checkpoints.steps():
        raise SystemExit("the run ended before it was killed")


def train(run: dict[str, Any]) -> int:
    """Train as `tasb train` does, up to where the model would be written."""
    if run["deterministic"]:  # cuBLAS reads this when it first computes
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        torch.use_deterministic_algorithms(True, warn_only=True)
    config: Any = training_configuration(**run["changes"])
    with claimed(config), finished_run(assemble(config, Processes())):
        return 0


if __name__ == "__main__":
    sys.exit(main())
