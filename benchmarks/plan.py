"""A plan for a collection of any size: machines, hours, disk, memory, milliseconds, and what breaks first.

    python benchmarks/plan.py | python benchmarks/marked_page.py docs/scale.md
    python benchmarks/plan.py --passages 50M --cores 64 --memory 512 --latency 100
    python benchmarks/plan.py --price-machine 1.5 --price-gpu 3 --price-disk 0.02
    python benchmarks/plan.py --plot docs/scale.png > /dev/null

Nothing is measured here. Each constant is read from the results of a benchmark, or is an assumption that an option
changes; the first table lists them all. Everything else is arithmetic, and a lower bound: no machine waits for another,
no network is busy with other things.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from index_kinds import bytes_of, compared

from pyserini_tasb.folders import FAISS
from pyserini_tasb.indexes.shards import PROCESS_BYTES
from pyserini_tasb.plots import COLOURS, as_png, new_figure, style
from pyserini_tasb.tables import markdown_table

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).parents[1] / "docs"
SCALE, KINDS_FILE, SPEED = DOCS / "scale" / "scale.json", DOCS / "scale" / "index_kinds.json", DOCS / "speed"
PASSAGES = ("10M", "138M", "1B", "10B")
KIND_NAMES = ("flat", "fp16", "int8", "rabitq", "ivfrabitq", "ivfpq", "hnsw")
GPU_SPEED, GPU_PAGE = 6_000, "docs/gpu.md"
# Rows of benchmarks/encode.py: number formats that are faster than fp32. A processor's fastest one counts.
FAST_FORMATS = ("torch bf16", "onnx int8")
UNIT_SIZE, FILES_PER_UNIT = 16_384, 3
MOST_FILES = 1_000_000
LUCENE_DOCUMENTS = 2**31 - 1 - 128
HASH_BYTES = 8  # of a docid in the pre-pass; sorting doubles them
HOURS_A_MONTH = 730
DOCID_BYTES = 28  # of `msmarco_passage_01_000000001`, as in MS MARCO v2
HIT_BYTES = DOCID_BYTES + 4  # with its score


def main() -> None:
    wishes, measured = options(), Measured.read()
    plans = [Plan(each, wishes, measured) for each in wishes.passages]
    print("\n\n".join(sections(plans, wishes, measured)))
    if wishes.plot:
        wishes.plot.write_bytes(picture(wishes, measured))


def options() -> argparse.Namespace:
    """The options that were given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", nargs="+", type=passages, default=[passages(n) for n in PASSAGES], metavar="N")
    parser.add_argument("--kinds", nargs="+", default=KIND_NAMES, choices=KIND_NAMES, metavar="KIND")
    parser.add_argument("--cores", type=int, default=32, help="of a machine (default: %(default)s)")
    parser.add_argument("--memory", type=float, default=256, help="of a machine, in GB (default: %(default)s)")
    parser.add_argument("--bandwidth", type=float, default=100, help="of its memory, in GB/s (default: %(default)s)")
    parser.add_argument("--network", type=float, default=1.25, help="of a machine, in GB/s (default: %(default)s)")
    parser.add_argument("--hours", type=float, default=24, help="in which to encode (default: %(default)s)")
    parser.add_argument("--latency", type=float, default=200, help="of a query, in ms (default: %(default)s)")
    parser.add_argument("--hits", type=int, default=1_000, help="of a query (default: %(default)s)")
    for what in ("machine", "gpu"):
        parser.add_argument(f"--price-{what}", type=float, help="of an hour of one")
    parser.add_argument("--price-disk", type=float, help="of a GB for a month")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw machines and memory")
    return parser.parse_args()


def passages(given: str) -> int:
    """`138M` as a number."""
    found = re.fullmatch(r"([\d.]+)([KMB]?)", given)
    if found is None:
        raise argparse.ArgumentTypeError(f"expected a number such as 8841823, 138M or 10B, found {given}")
    return round(float(found[1]) * {"": 1, "K": 10**3, "M": 10**6, "B": 10**9}[found[2]])


@dataclass(frozen=True)
class Constant:
    """A number that plans are made of.

    Args:
        value: the number.
        what: what it is, with its unit.
        source: the command that measured it and where, or that it is assumed.
        where: the processor, if there are several.
    """

    value: float
    what: str
    source: str
    where: str = ""


@dataclass(frozen=True)
class Measured:
    """Results of benchmarks.

    Args:
        scale: the result of benchmarks/scale.py.
        kinds: the result of benchmarks/index_kinds.py.
        speed: the results in docs/speed, one for each processor.
    """

    scale: dict[str, Any]
    kinds: dict[str, Any]
    speed: tuple[dict[str, Any], ...]

    @classmethod
    def read(cls) -> Measured:
        """The committed results."""
        speed = tuple(json.loads(path.read_text(encoding="utf-8")) for path in sorted(SPEED.glob("*.json")))
        scale, kinds = (json.loads(path.read_text(encoding="utf-8")) for path in (SCALE, KINDS_FILE))
        return cls(scale, kinds, speed)

    @cached_property
    def cores(self) -> list[Constant]:
        """Passages a second of a core, for each processor, the slowest first."""
        found = []
        for each in self.speed:
            rows, machine = each["benchmarks"]["encode"]["rows"], each["benchmarks"]["encode"]["machine"]
            best = max((row for row in FAST_FORMATS if row in rows), key=lambda row: rows[row]["passages/s"])
            what = f"passages a second of a core, {best.removeprefix('torch ').removeprefix('onnx ')}"
            speed = rows[best]["passages/s"] / machine["threads"]
            found.append(Constant(speed, what, source(each["benchmarks"]["encode"]), short(machine)))
        return sorted(found, key=lambda constant: constant.value)

    @property
    def gpu(self) -> Constant:
        """Passages a second of a GPU."""
        return Constant(GPU_SPEED, "passages a second of an H200, bf16", GPU_PAGE)

    @cached_property
    def overhead(self) -> Constant:
        """The time on Ray, as a multiple of that without."""
        rows = self.scale["rows"]
        (ray,) = (row for name, row in rows.items() if name.startswith("encode --ray"))
        return Constant(ray["times plain"][0], "time to encode on Ray, times that without", source(self.scale))

    @cached_property
    def reading(self) -> Constant:
        """Passages a second of the pre-pass."""
        value = self.scale["rows"]["reading a corpus"]["passages/s"]
        what = "passages a second that one process reads before the work; up to 16 read plain files"
        return Constant(value, what, source(self.scale))

    @cached_property
    def text(self) -> Constant:
        """Bytes of a passage of JSONL."""
        value = self.scale["rows"]["reading a corpus"]["bytes/passage"]
        return Constant(value, "bytes of a passage in JSONL", source(self.scale))

    @cached_property
    def lucene(self) -> Constant:
        """Bytes of a passage in a Lucene index of terms."""
        value = self.scale["rows"]["Lucene index of terms"]["bytes/passage"]
        return Constant(value, "bytes of a passage in a BM25 index, without its text", source(self.scale))

    @cached_property
    def query(self) -> Constant:
        """Milliseconds to encode a query."""
        rows = [each["benchmarks"]["query_latency"] for each in self.speed]
        slowest = max(rows, key=lambda each: each["rows"]["onnx int8"]["p50 ms"])
        what = "ms to encode a query in int8"
        return Constant(slowest["rows"]["onnx int8"]["p50 ms"], what, source(slowest))

    def scan(self, kind: str) -> Constant:
        """Milliseconds of a query among the vectors of the benchmark, by one core."""
        what = f"ms of a query in `{kind}` among {self.vectors:,}, by one core"
        return Constant(self.kinds["rows"][kind]["p50 ms"], what, source(self.kinds))

    def build(self, kind: str) -> float:
        """Seconds to build an index of the benchmark's vectors."""
        return float(self.kinds["rows"][kind]["build s"])

    @property
    def vectors(self) -> int:
        """How many vectors the kinds were measured with."""
        return int(self.kinds["notes"][0].split()[0].replace(",", ""))

    @property
    def dimension(self) -> int:
        """Their dimension."""
        return int(self.kinds["notes"][0].split(" of ")[1].split()[0])

    def merging(self, hits: int, shards: int) -> float:
        """Milliseconds to merge the hits of a query from so many shards; in proportion between what was measured."""
        rows = (re.fullmatch(r"merge ([\d,]+) hits of ([\d,]+) shards", name) for name in self.scale["rows"])
        points: dict[int, dict[int, float]] = {}
        for row in filter(None, rows):
            of_hits, of_shards = (int(each.replace(",", "")) for each in row.groups())
            points.setdefault(of_hits, {})[of_shards] = self.scale["rows"][row[0]]["ms"]
        most = min((each for each in points if each >= hits), default=max(points))
        line = points[most]
        found = float(np.interp(shards, list(line), list(line.values()))) * max(1.0, shards / max(line))
        return found * max(1.0, hits / most)


def source(result: dict[str, Any]) -> str:
    """The benchmark, the processor and the commit of a result."""
    return f"benchmarks/{result['benchmark']}.py, {short(result['machine'])}, {result['machine']['commit']}"


def short(machine: dict[str, Any]) -> str:
    """A processor without its list of instructions."""
    name: str = machine["processor"]
    return name.partition(",")[0] + (" with AMX" if "amx" in name else "")


@dataclass(frozen=True)
class Searching:
    """An index of one kind over a collection, on some machines.

    Args:
        kind: the kind.
        machines: how many.
        in_time: whether they meet the latency.
        scan, merge, total: milliseconds of a query: in the shards, to merge, and both with the encoding of the query.
        hours: the time to build it, on all machines at once.
    """

    kind: str
    machines: int
    in_time: bool
    scan: float
    merge: float
    total: float
    hours: float


@dataclass(frozen=True)
class Plan:
    """The needs of a collection.

    Args:
        count: its passages.
        wishes: the options.
        measured: the constants.
    """

    count: int
    wishes: argparse.Namespace
    measured: Measured

    @property
    def vector_bytes(self) -> float:
        """Bytes of all vectors in fp32."""
        return 4.0 * self.measured.dimension * self.count

    def core_hours(self, core: Constant) -> float:
        """Hours of one core to encode, on Ray."""
        return self.count / core.value * self.measured.overhead.value / 3_600

    @property
    def gpu_hours(self) -> float:
        """Hours of one GPU to encode."""
        return self.count / self.measured.gpu.value * self.measured.overhead.value / 3_600

    @property
    def reading_hours(self) -> float:
        """Hours in which one process reads the corpus, before any machine encodes."""
        return self.count / self.measured.reading.value / 3_600

    def searching(self, kind: str) -> Searching:
        """The least machines with which this kind answers in time; if none do, the fastest."""
        free = self.wishes.memory * 1e9 - PROCESS_BYTES[FAISS]
        by_memory = max(1, math.ceil(self.index_bytes(kind) / free))
        best, machines = self._with(kind, by_memory), by_memory
        while best.total > self.wishes.latency:
            machines = max(machines + 1, machines * 21 // 20)
            found = self._with(kind, machines)
            if found.total > best.total and machines > 2 * best.machines:
                return replace(best, in_time=False)
            best = min(best, found, key=lambda each: each.total)
        return best

    def index_bytes(self, kind: str) -> float:
        """Bytes of memory of an index, as `tasb search --ray` counts them."""
        return self.count * (bytes_of(kind, self.measured.dimension) + 2 * DOCID_BYTES)

    def _with(self, kind: str, machines: int) -> Searching:
        """A search by so many machines, each with a shard for each core."""
        wishes, measured = self.wishes, self.measured
        shard = max(1, self.count // (machines * wishes.cores))
        visited = compared(kind, shard)
        scan = measured.scan(kind).value * visited / compared(kind, measured.vectors)
        if kind != "hnsw":  # all cores read at the same time
            read = visited * bytes_of(kind, measured.dimension) * wishes.cores
            scan = max(scan, read / (wishes.bandwidth * 1e9) * 1e3)
        arriving = wishes.hits * HIT_BYTES * machines / (wishes.network * 1e9) * 1e3
        merge = measured.merging(wishes.hits, wishes.cores) + measured.merging(wishes.hits, machines) + arriving
        core_seconds = measured.build(kind) * int(measured.kinds["machine"]["threads"]) / measured.vectors
        growth = math.log(shard) / math.log(measured.vectors) if kind == "hnsw" else 1.0
        return Searching(
            kind=kind,
            machines=machines,
            in_time=True,
            scan=scan,
            merge=merge,
            total=measured.query.value + scan + merge,
            hours=core_seconds * shard * growth / 3_600,
        )


def sections(plans: list[Plan], wishes: argparse.Namespace, measured: Measured) -> Iterator[str]:
    """The tables."""
    yield "### Encode"
    head = ["passages", *(f"core hours, {core.where}" for core in measured.cores)]
    head += [f"machines for {wishes.hours:g} h", "hours, H200", f"H200s for {wishes.hours:g} h"]
    head += ["hours to read it first"]
    yield markdown_table(head, [encode_line(plan, wishes) for plan in plans])
    yield "### Disk"
    yield markdown_table(["passages", "text", "vectors fp32", "vectors fp16", "BM25 index"], map(disk_line, plans))
    yield "### Search"
    yield (
        f"Machines that answer a query with {wishes.hits:,} hits within {wishes.latency:g} ms, and how long they take. "
        f"A machine has {wishes.cores} cores, {wishes.memory:g} GB of memory, and a shard for each core:"
    )
    head = ["kind", "bytes", *(size(plan.count) for plan in plans)]
    found = {kind: [plan.searching(kind) for plan in plans] for kind in wishes.kinds}
    lines = [
        [f"`{kind}`", f"{bytes_of(kind, measured.dimension):,.0f}", *map(cell, row)] for kind, row in found.items()
    ]
    yield markdown_table(head, lines)
    yield "The parts of it: memory for the index, milliseconds to search a shard and to merge, time to build the index:"
    yield markdown_table(
        ["passages", "kind", "memory", "scan ms", "merge ms", "to build"],
        [detail(plan, row[number]) for number, plan in enumerate(plans) for row in found.values()],
    )
    if prices := money(plans, found, wishes):
        yield from prices
    yield "### What breaks first"
    yield markdown_table(["at passages", "what", "what to do"], limits(wishes, measured))
    yield "### Constants"
    yield markdown_table(["", "value", "source"], constants(wishes, measured))


def encode_line(plan: Plan, wishes: argparse.Namespace) -> list[str]:
    hours = [plan.core_hours(core) for core in plan.measured.cores]
    machines = [math.ceil(each / wishes.hours / wishes.cores) for each in hours]
    gpus = math.ceil(plan.gpu_hours / wishes.hours)
    counts = f"{machines[-1]:,} to {machines[0]:,}" if machines[-1] != machines[0] else f"{machines[0]:,}"
    line = [size(plan.count), *(f"{each:,.0f}" for each in hours), counts, number(plan.gpu_hours), f"{gpus:,}"]
    return [*line, number(plan.reading_hours)]


def disk_line(plan: Plan) -> list[str]:
    measured = plan.measured
    parts = (plan.count * measured.text.value, plan.vector_bytes, plan.vector_bytes / 2)
    return [size(plan.count), *map(in_bytes, parts), in_bytes(plan.count * measured.lucene.value)]


def cell(found: Searching) -> str:
    machines = "1 machine" if found.machines == 1 else f"{found.machines:,} machines"
    return f"{machines}, {found.total:,.0f} ms" if found.in_time else f"too slow: {found.total:,.0f} ms with {machines}"


def detail(plan: Plan, found: Searching) -> list[str]:
    memory = in_bytes(plan.index_bytes(found.kind))
    return [size(plan.count), f"`{found.kind}`", memory, number(found.scan), number(found.merge), clock(found.hours)]


def money(plans: list[Plan], found: dict[str, list[Searching]], wishes: argparse.Namespace) -> list[str]:
    """The table of prices, if any are given."""
    if wishes.price_machine is None and wishes.price_gpu is None and wishes.price_disk is None:
        return []

    def price(each: float | None, number: float) -> str:
        return "" if each is None else f"{each * number:,.0f}"

    lines = []
    for at, plan in enumerate(plans):
        in_time = [row[at] for row in found.values() if row[at].in_time]
        least = min(in_time, key=lambda each: each.machines, default=None)
        search = "" if least is None else price(wishes.price_machine, least.machines * HOURS_A_MONTH)
        lines.append(
            [
                size(plan.count),
                price(wishes.price_machine, plan.core_hours(plan.measured.cores[-1]) / wishes.cores),
                price(wishes.price_gpu, plan.gpu_hours),
                price(wishes.price_disk, plan.vector_bytes / 1e9),
                f"{search} (`{least.kind}`)" if search and least else "",
            ]
        )
    head = ["passages", "encode on CPUs", "encode on GPUs", "vectors fp32, a month", "search, a month"]
    return ["### Money", markdown_table(head, lines)]


def limits(wishes: argparse.Namespace, measured: Measured) -> list[list[str]]:
    """Limits, each with the number of passages at which it is reached, in order."""
    memory, flat = wishes.memory * 1e9, bytes_of("flat", measured.dimension)
    smallest = min(wishes.kinds, key=lambda kind: bytes_of(kind, measured.dimension))
    small = bytes_of(smallest, measured.dimension)
    scanned = min(
        wishes.latency / 1e3 * wishes.bandwidth * 1e9 / flat,
        wishes.latency * wishes.cores * measured.vectors / measured.scan("flat").value,
    )
    machines = next(n for n in count(1) if measured.merging(wishes.hits, n) > wishes.latency / 2)
    parts = "encode parts of the corpus as corpora of their own, each into its folder"
    found = [
        (
            scanned,
            f"A query of a flat index on one machine takes over {wishes.latency:g} ms",
            "more machines, or another kind",
        ),
        (memory / flat, "A flat index does not fit into one machine", "the same"),
        (memory / small, f"Not even `{smallest}` fits into one machine", "shards on several machines"),
        (
            measured.reading.value * 3_600 * wishes.hours,
            f"To read the corpus first takes one process {wishes.hours:g} hours; up to 16 read plain files",
            parts,
        ),
        (memory / (2 * HASH_BYTES), "The process that hands out units has no memory to compare all docids", parts),
        (
            MOST_FILES / FILES_PER_UNIT * UNIT_SIZE,
            f"A folder of vectors has over {MOST_FILES:,} files",
            "a larger `--unit-size`, or parts",
        ),
        (LUCENE_DOCUMENTS, "A Lucene index cannot number more documents", "BM25 over shards"),
        (
            machines * memory / small,
            f"To merge the hits of {machines:,} machines takes {wishes.latency / 2:g} ms",
            "fewer hits",
        ),
    ]
    return [[size(at), what, do] for at, what, do in sorted(found)]


def constants(wishes: argparse.Namespace, measured: Measured) -> Iterator[list[str]]:
    """Everything that the tables are calculated from."""
    listed = [*measured.cores, measured.gpu, measured.overhead, measured.reading, measured.text, measured.lucene]
    listed += [measured.query, *(measured.scan(kind) for kind in wishes.kinds)]
    for shards in (10, 100, 1_000):
        what = f"ms to merge {wishes.hits:,} hits of {shards:,} shards"
        listed.append(Constant(measured.merging(wishes.hits, shards), what, source(measured.scale)))
    listed += [
        Constant(DOCID_BYTES, "bytes of a docid", "MS MARCO v2's, `msmarco_passage_01_000000001`"),
        Constant(wishes.cores, "cores of a machine", "assumed: `--cores`"),
        Constant(wishes.memory, "GB of memory of a machine", "assumed: `--memory`"),
        Constant(wishes.bandwidth, "GB a second that its cores read from memory", "assumed: `--bandwidth`"),
        Constant(wishes.network, "GB a second of its network", "assumed: `--network`"),
    ]
    for each in listed:
        yield [each.what, number(each.value), each.source]


def size(count: float) -> str:
    """`138M`."""
    for unit, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if count >= unit:
            return f"{count / unit:.3g}{letter}"
    return f"{count:.3g}"


def clock(hours: float) -> str:
    """`38 min`."""
    for unit, name in ((1, "h"), (1 / 60, "min")):
        if hours >= unit:
            return f"{number(hours / unit)} {name}"
    return f"{number(hours * 3_600)} s"


def in_bytes(count: float) -> str:
    """`27.2 GB`."""
    for unit, name in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:.0f} B"


def number(value: float) -> str:
    """A number with two or three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 1 else f"{value:.2g}"


def picture(wishes: argparse.Namespace, measured: Measured) -> bytes:
    """Left, the hours to encode; right, the machines that a search needs, as far as any number is enough."""
    counts = [10 ** (7 + step / 16) for step in range(49)]
    plans = [Plan(int(each), wishes, measured) for each in counts]
    figure = new_figure(11, 4.6)
    left, right = figure.subplots(1, 2)
    encoding = {
        f"one machine, {core.where}": [p.core_hours(core) / wishes.cores for p in plans] for core in measured.cores
    }
    encoding |= {"one H200": [plan.gpu_hours for plan in plans], "to read the corpus": [p.reading_hours for p in plans]}
    searching = {}
    for kind in wishes.kinds:
        found = [plan.searching(kind) for plan in plans]
        searching[kind] = [each.machines if each.in_time else math.nan for each in found]
    for panel, lines, label in (
        (left, encoding, "hours to encode"),
        (right, searching, f"machines for {wishes.hits:,} hits in {wishes.latency:g} ms"),
    ):
        panel.set_xscale("log")
        panel.set_yscale("log")
        style(panel, decimals=None)
        panel.xaxis.set_major_formatter(lambda value, _: size(value))
        panel.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        panel.set_xlabel("passages")
        panel.set_ylabel(label)
        for place, (name, values) in enumerate(lines.items()):
            dashes = "-" if place < len(COLOURS) else "--"
            panel.plot(counts, values, dashes, label=name, color=COLOURS[place % len(COLOURS)])
        panel.legend(fontsize=8, frameon=False)
    return as_png(figure)


if __name__ == "__main__":
    main()
