"""The shared parts of benchmarks: options, an estimate before the work, turns, floors, results as JSON and a table."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from pyserini_tasb.artifacts import write_whole
from pyserini_tasb.environment.processor import cpu_has_int8, processor, request_reproducibility, threads
from pyserini_tasb.models.backends import cpu_has_bf16
from pyserini_tasb.tables import markdown_table, text_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Result = dict[str, Any]

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pyserini", "torch", "transformers", "onnxruntime", "onnxruntime-gpu", "faiss-cpu", "faiss-gpu", "numpy")
# Seconds of both probes on the machine where the benchmarks' own seconds were taken: AMD EPYC, AVX-512, 2 cores, quiet.
PROBED_ON, PROBES = "an AMD EPYC with AVX-512 and two cores", {"matrices": 0.102, "python": 0.041}


class Options(argparse.ArgumentParser):
    """The options of a benchmark: its own, `--output`, and `--quick`, which changes the defaults of its own.

    Args:
        script: the benchmark's file.
        document: its docstring.
        quick: option → its default with `--quick`, so that all takes about two minutes or less on two cores.
    """

    def __init__(self, script: str, document: str | None, quick: dict[str, Any]) -> None:
        super().__init__(description=document, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
        name = Path(script).stem
        self.quick = quick
        self.set_defaults(benchmark=name)
        shown = ", ".join(f"--{option.replace('_', '-')} {_shown(value)}" for option, value in quick.items())
        self.add_argument("--quick", action="store_true", help=f"about two minutes or less on two cores: {shown}")
        self.add_argument("--output", type=Path, default=Path("bench-out", f"{name}.json"), help="default: %(default)s")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """The arguments; what is given goes before `--quick`."""
        if "--quick" in (sys.argv[1:] if args is None else args):
            self.set_defaults(**self.quick)
        return super().parse_args(args, namespace)


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


class Results:
    """The results of a benchmark: rows of columns, notes, what was left out, floors.

    Args:
        arguments: of `Options`.
        columns: name → how its numbers are formatted, such as `.2f`.
    """

    def __init__(self, arguments: argparse.Namespace, columns: dict[str, str]) -> None:
        request_reproducibility()  # before a probe multiplies
        self.output: Path = arguments.output
        # Row → column → a number, or [median, least, most].
        self.rows: dict[str, dict[str, float | list[float]]] = {}
        self.notes: list[str] = []
        self.skipped: list[str] = []
        self.floors: list[dict[str, Any]] = []
        self._columns = columns
        self._name: str = arguments.benchmark
        self._settings = {
            name: without_folders(value)
            for name, value in vars(arguments).items()
            if name not in {"benchmark", "output", "folder"}
        }
        self._estimate: float | None = None
        self._machine = machine()
        self._start = time.perf_counter()
        print(f"{self._name}: {self._machine['processor']}, {self._machine['threads']} threads", flush=True)

    def expect(self, what: str, **seconds: float) -> None:
        """Print how long the benchmark will take here, before it begins.

        Args:
            what: the work, in a few words.
            seconds: on the machine of `PROBES`, for `matrices` (multiplications) and `python` (all else).
        """
        slower = {kind: slowness(kind) for kind in seconds}
        self._estimate = sum(slower[kind] * of_kind for kind, of_kind in seconds.items())
        compared = ", ".join(f"{kind} take {times:.2f} times as long here" for kind, times in slower.items())
        there = f"{sum(seconds.values()):.0f} s on {PROBED_ON}; probes of {compared}"
        print(f"about {self._estimate:.0f} s: {what} ({there})", flush=True)

    def skip(self, what: str, why: str) -> None:
        """Say that something is not measured here."""
        self.skipped.append(f"{what}: {why}")
        print(f"skipped {self.skipped[-1]}", flush=True)

    def has(self, package: str, what: str, extra: str = "bench") -> bool:
        """True if a module is installed; otherwise `what` is skipped, and the extra that has its package is named."""
        with contextlib.suppress(ModuleNotFoundError):  # the package around it is not there
            if importlib.util.find_spec(package):
                return True
        self.skip(what, f"{package} is not installed (pip install 'pyserini-tasb[{extra}]')")
        return False

    def multiplies(self, precision: str, what: str) -> bool:
        """True if the processor multiplies in this number format itself; otherwise `what` is skipped, with a reason."""
        lacking = {
            "bf16": "" if cpu_has_bf16() else "this processor has neither AMX nor AVX512-BF16",
            "int8": "" if cpu_has_int8() else "this processor has no VNNI",
        }.get(precision, "")
        if lacking:
            self.skip(what, lacking)
        return not lacking

    def note(self, text: str) -> None:
        """Add a line to stand below the table."""
        self.notes.append(text)

    def floor(self, what: str, found: float, *, least: float | None = None, most: float | None = None) -> None:
        """Judge a number that must not be less than `least`, or more than `most`."""
        met = (least is None or found >= least) and (most is None or found <= most)
        bounds = [f"at least {least:g}" if least is not None else "", f"at most {most:g}" if most is not None else ""]
        wanted = " and ".join(filter(None, bounds))
        self.floors.append({"what": what, "found": float(found), "wanted": wanted, "met": bool(met)})

    def finish(self) -> int:
        """Print the table, write the JSON; the exit status, which is 1 if a floor is missed."""
        result = self.write(complete=True)
        head, lines = cells(result)
        print()
        if lines:
            print(text_table(head, lines, right=range(1, len(head))))
        print("\n".join([*self.notes, *map(verdict, self.floors)]))
        print(f"{result['seconds']:.0f} s", flush=True)
        return int(not all(floor["met"] for floor in self.floors))

    def write(self, *, complete: bool = False) -> Result:
        """Write the JSON of what is measured so far: whatever stops a benchmark later, that much is known."""
        result: Result = {
            "benchmark": self._name,
            "machine": self._machine,
            "settings": self._settings,
            "estimate": self._estimate,
            "seconds": time.perf_counter() - self._start,
            "columns": self._columns,
            "rows": self.rows,
            "notes": self.notes,
            "skipped": self.skipped,
            "floors": self.floors,
        }
        if not complete:
            result["complete"] = False
        self.output.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.output, json.dumps(result, indent=1) + "\n")
        return result


def without_folders(value: Any) -> Any:
    """A setting with names instead of paths: in which folder files lie is only this machine's affair."""
    if isinstance(value, list | tuple):
        return [without_folders(each) for each in value]
    if isinstance(value, Path) or (isinstance(value, str) and "/" in value and Path(value).exists()):
        return Path(value).name
    return value


def cells(result: Result) -> tuple[list[str], list[list[str]]]:
    """A benchmark's table: its head, and its lines of cells."""
    columns = [column for column in result["columns"] if any(column in row for row in result["rows"].values())]
    lines = [
        [name, *(formatted(row[column], result["columns"][column]) if column in row else "" for column in columns)]
        for name, row in result["rows"].items()
    ]
    return ["", *columns], lines


def formatted(value: float | list[float], as_: str) -> str:
    """A number, or a median with the least and the most of all rounds."""
    if isinstance(value, list):
        median, least, most = (format(each, as_) for each in value)
        return f"{median} ({least}-{most})"
    return format(value, as_)


def verdict(floor: dict[str, Any]) -> str:
    """A floor in words."""
    return f"{'met' if floor['met'] else 'MISSED'}: {floor['what']} {short(floor['found'])}, wanted {floor['wanted']}"


def short(number: float) -> str:
    """A number with as many digits as a reader needs; cosines near 1 need six."""
    if abs(number) >= 1_000:
        return f"{number:,.0f}"
    return f"{number:.6f}" if 0.99 < number < 1 else f"{number:.3g}"


def markdown(result: Result) -> str:
    """A benchmark's table, notes, floors and omissions in Markdown."""
    head, lines = cells(result)
    others = [*result["notes"], *map(verdict, result["floors"]), *(f"skipped {each}" for each in result["skipped"])]
    table = [markdown_table(head, lines)] if lines else []
    return "\n\n".join([*table, "\n".join(f"* {other}" for other in others)]).strip()


def by_turns(ways: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """The results of each way, round by round. Each round begins with another way: none is always the first."""
    found: dict[str, list[T]] = {way: [] for way in ways}
    names = list(ways)
    for number in range(rounds):
        first = number % len(names)
        for way in names[first:] + names[:first]:
            found[way].append(ways[way]())
    return found


def seconds_of(call: Callable[[], object]) -> float:
    """Seconds on the clock that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def spread(values: Sequence[float]) -> list[float]:
    """[median, least, most]."""
    return [float(statistics.median(values)), float(min(values)), float(max(values))]


def times(theirs: Sequence[float], ours: Sequence[float]) -> list[float]:
    """How many times as fast as theirs: [median, least, most] of the rounds, each compared with itself."""
    return spread([other / own for other, own in zip(theirs, ours, strict=True)])


def machine() -> dict[str, Any]:
    """The processor's kind, and all else that numbers depend on."""
    installed = {}
    for package in PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        **gpu(),
        "processor": re.sub(r"\((R|TM)\)| Processor", "", processor()),
        "cores": os.cpu_count(),
        "threads": threads(),
        "load": round(os.getloadavg()[0], 2),
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": installed,
    }


def gpu() -> dict[str, Any]:
    """The first GPU of torch: its name, GiB of memory, capability, and versions of CUDA and the driver; or nothing."""
    import torch

    if not torch.cuda.is_available():
        return {}
    about = torch.cuda.get_device_properties(0)
    driver = _said(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"])
    return {
        "gpu": about.name,
        "gpu about": {
            "GPUs": torch.cuda.device_count(),
            "memory GiB": round(about.total_memory / 2**30, 1),
            "capability": f"{about.major}.{about.minor}",
            "CUDA": str(torch.version.cuda),
            "driver": driver or "unknown",
        },
    }


def commit() -> str:
    """The commit that is measured; `+` behind it means with changes. A copy without .git may name it: COMMIT."""
    found = os.environ.get("COMMIT") or _said(["git", "-C", str(ROOT), "rev-parse", "--short=7", "HEAD"])
    return found + ("+" if found and _said(["git", "-C", str(ROOT), "status", "--porcelain", "-uno"]) else "")


def _said(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def slowness(kind: str) -> float:
    """How many times as long as on the machine of `PROBES` a small piece of such work takes here."""
    call = {"matrices": _multiply, "python": _count}[kind]
    call()
    return min(seconds_of(call) for _ in range(3)) / PROBES[kind]


def _multiply() -> None:
    import torch

    matrix = torch.ones(2_048, 2_048)
    matrix.mm(matrix)


def _count() -> None:
    words = [f"{number % 1_000} Q0 {number}" for number in range(100_000)]
    np.unique([line.split()[0] for line in words])
