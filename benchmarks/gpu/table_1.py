"""Table 1 of the TAS-B paper on this GPU: milliseconds to encode queries and to search all of MS MARCO's passages.

    python benchmarks/gpu/table_1.py
    python benchmarks/gpu/table_1.py --quick

8,841,823 random vectors of 768 dimensions in fp16, exact search for the best 1,000, and batches of 1, 10 and 2,000
different queries. The paper's numbers are of a Titan RTX, with DistilBERT and Faiss (arXiv:2104.06967, Table 1); they
stand beside ours only where all these vectors fit into the GPU's memory. Where faiss-gpu is installed, its flat index
is measured, too. At the end, fewer vectors in fp32 tell which hits bf16 and fp16 lose.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import checkout  # noqa: F401 - before the imports of ours
import numpy as np
import torch
from measuring import Options, Results
from model_files import add_model_options, found_device, model_to_measure
from real_texts import queries
from settings import encoder_card

from pyserini_tasb.encoding.encoders import TextEncoder
from pyserini_tasb.indexes.torch_search import TorchFlat

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from numpy.typing import NDArray

PASSAGES, DIMENSION, DEPTH = 8_841_823, 768, 1_000
PAPER_MS = {1: 64, 10: 162, 2_000: 4_780}  # batch → encoding and search together, on average
PARTS = ("encode", "search", "total")
COLUMNS = {
    **{f"{part} {kind}": ".1f" for part in PARTS for kind in ("ms", "p99")},
    "paper ms": "d",
    "runs": "d",
    "recall": ".4f",
}
ROWS_AT_ONCE = 1 << 18
COMPARED, LEAST_RECALL = 100, 0.999  # queries, and the share of the hits in fp32 that other number formats find
MOST_RUNS, FEWEST_RUNS = 100, 3


def main() -> int:
    """Measure, write after each row."""
    quick = {"vectors": 5_000, "batches": [1, 10, 100], "seconds": 0.3, "depth": 100, "size": "tiny"}
    quick["recall_vectors"] = 2_000
    parser = Options(__file__, __doc__, quick=quick)
    add_model_options(parser)
    parser.add_argument("--queries", type=Path, help="id TAB text; default: CACM's titles")
    parser.add_argument("--vectors", type=int, default=PASSAGES, help="default: %(default)s")
    help_of_recall = "vectors in fp32 that bf16 and fp16 are compared with (default: %(default)s)"
    parser.add_argument("--recall-vectors", type=int, default=1 << 17, help=help_of_recall)
    parser.add_argument("--batches", type=int, nargs="+", default=list(PAPER_MS), help="default: 1 10 2000")
    parser.add_argument("--depth", type=int, default=DEPTH, help="hits of a query (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="for a size of batches (default: %(default)s)")
    arguments = parser.parse_args()
    texts = queries(arguments.queries)
    if len(texts) < max(arguments.batches):
        parser.error(f"--queries has {len(texts)} different queries; {max(arguments.batches)} are needed")
    device = found_device(arguments.device)
    results = Results(arguments, COLUMNS)
    with model_to_measure(arguments, texts) as (model, _):
        measure(arguments, device, model, texts, results)
    return results.finish()


def measure(arguments: argparse.Namespace, device: str, model: Path, texts: list[str], results: Results) -> None:
    """Add all rows."""
    on_gpu = torch.device(device).type == "cuda"
    encoder = TextEncoder(encoder_card(model, precision="auto"), device, backend="torch", texts="queries")
    vectors = random_vectors(arguments.vectors, encoder.dimension, device)
    results.note(
        f"{len(vectors):,} random vectors of {encoder.dimension} dimensions in fp16, "
        f"{vectors.nbytes / 2**30:.1f} GiB; {arguments.depth:,} hits; queries encoded with {encoder.computes()}"
    )
    # On a CPU, products in fp16 are slow.
    precision = "fp16" if on_gpu else "fp32"
    index = TorchFlat([vectors], device=device, precision=precision)
    if len(vectors) < arguments.vectors:
        results.note(f"no more vectors fit into this memory; {arguments.vectors:,} were asked for")
    as_in_paper = vectors.shape == (PASSAGES, DIMENSION)
    for batch in arguments.batches:
        name = f"batches of {batch:,}"
        add_row(name, batch, encoder, index.search, texts, arguments, results, as_in_paper=as_in_paper)
    del index
    add_recall(encoder.dimension, device, arguments, results)
    add_faiss(vectors, encoder, texts, arguments, device, results, as_in_paper=as_in_paper)


def random_vectors(count: int, dimension: int, device: str) -> torch.Tensor:
    """Vectors [count, dimension] in fp16, as many as the device's memory has room for beside a third of it."""
    if torch.device(device).type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        count = min(count, int(free * 2 / 3) // (2 * dimension))
    vectors = torch.empty(count, dimension, dtype=torch.float16, device=device)
    generator = torch.Generator(device).manual_seed(0)
    for start in range(0, count, ROWS_AT_ONCE):
        block = vectors[start : start + ROWS_AT_ONCE]
        block.copy_(torch.randn(block.shape, generator=generator, device=device))
    return vectors


def add_row(
    name: str,
    batch: int,
    encoder: TextEncoder,
    search: Callable[[NDArray[np.float32], int], Any],
    texts: list[str],
    arguments: argparse.Namespace,
    results: Results,
    *,
    as_in_paper: bool,
) -> None:
    """Encode and search batches of different queries until the time is up.

    Args:
        name: the row's name.
        batch: queries of a batch.
        encoder: encodes them.
        search: finds so many hits of each.
        texts: the queries.
        arguments: of this script.
        results: gets the row.
        as_in_paper: whether as many vectors are searched as in the paper, whose time then stands beside ours.
    """
    random = np.random.default_rng(batch)
    times: dict[str, list[float]] = {part: [] for part in PARTS}
    warm = True
    end = float("inf")
    while len(times["total"]) < FEWEST_RUNS or (time.perf_counter() < end and len(times["total"]) < MOST_RUNS):
        asked = [texts[row] for row in random.choice(len(texts), batch, replace=False)]
        began = time.perf_counter()
        encoded = encoder.encode(asked, max_length=encoder.card.query_max_length)
        half = time.perf_counter()
        search(encoded, arguments.depth)
        done = time.perf_counter()
        if warm:  # the first batch of a size is not counted
            warm, end = False, done + arguments.seconds
            continue
        for part, seconds in zip(PARTS, (half - began, done - half, done - began), strict=True):
            times[part].append(1e3 * seconds)
    row: dict[str, float | list[float]] = {}
    for part, found in times.items():
        row |= {f"{part} ms": float(np.mean(found)), f"{part} p99": float(np.percentile(found, 99))}
    compared = {"paper ms": PAPER_MS[batch]} if batch in PAPER_MS and as_in_paper else {}
    results.rows[name] = {**row, **compared, "runs": len(times["total"])}
    results.write()


def add_recall(dimension: int, device: str, arguments: argparse.Namespace, results: Results) -> None:
    """Rows and floors of the hits of vectors in fp32 that are found in bf16, in fp16, and after storing in fp16."""
    generator = torch.Generator(device).manual_seed(1)
    vectors, asked = (
        torch.randn(count, dimension, generator=generator, device=device)
        for count in (arguments.recall_vectors, COMPARED)
    )
    exact = TorchFlat([vectors], device=device).search(asked, arguments.depth)[1]
    ways = {
        "bf16": TorchFlat([vectors], device=device, precision="bf16"),
        "fp16": TorchFlat([vectors], device=device, precision="fp16"),
        "fp16, vectors stored in fp16": TorchFlat([vectors.half()], device=device, precision="fp16"),
    }
    for name, index in ways.items():
        found = index.search(asked, arguments.depth)[1]
        shared = [len(np.intersect1d(*both)) / arguments.depth for both in zip(exact, found, strict=True)]
        recall = float(np.mean(shared))
        results.rows[f"{name} beside fp32, {len(vectors):,} vectors"] = {"recall": recall}
        results.floor(f"recall@{arguments.depth} of {name}", recall, least=LEAST_RECALL)
        results.write()


def add_faiss(
    vectors: torch.Tensor,
    encoder: TextEncoder,
    texts: list[str],
    arguments: argparse.Namespace,
    device: str,
    results: Results,
    *,
    as_in_paper: bool,
) -> None:
    """Rows of faiss-gpu's flat index in fp16, if it is installed and finds a GPU."""
    what = "faiss-gpu"
    if not results.has("faiss", what, "gpu"):
        return
    import faiss

    if not hasattr(faiss, "StandardGpuResources") or not faiss.get_num_gpus() or not device.startswith("cuda"):
        results.skip(what, "this faiss is a build for the CPU, or finds no GPU (docs/gpu.md)")
        return
    free, _ = torch.cuda.mem_get_info(device)
    if free < 1.2 * vectors.nbytes:
        results.skip(what, f"{free / 2**30:.1f} GiB of memory are free, too little for a second copy of the vectors")
        return
    config = faiss.GpuIndexFlatConfig()
    config.useFloat16, config.device = True, torch.device(device).index or 0
    index = faiss.GpuIndexFlatIP(faiss.StandardGpuResources(), vectors.shape[1], config)
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        index.add(vectors[start : start + ROWS_AT_ONCE].float().cpu().numpy())
    for batch in arguments.batches:
        name = f"faiss-gpu, batches of {batch:,}"
        add_row(name, batch, encoder, index.search, texts, arguments, results, as_in_paper=as_in_paper)


if __name__ == "__main__":
    sys.exit(main())
