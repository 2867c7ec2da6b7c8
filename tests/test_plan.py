"""The plan of docs/scale.md: arithmetic over committed measurements, checked by hand and against real indexes."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pyserini_tasb.folders import FAISS
from pyserini_tasb.indexes.shards import PROCESS_BYTES

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"


@pytest.fixture
def plan(benchmark_module):
    return benchmark_module("plan")


@pytest.fixture
def planned(plan, monkeypatch, capsys):
    """The text that the script prints."""

    def call(*given):
        monkeypatch.setattr(sys, "argv", ["plan.py", *given])
        plan.main()
        return capsys.readouterr().out

    return call


@pytest.fixture
def for_passages(plan, monkeypatch):
    """A plan for so many passages, with options."""

    def call(passages, *given):
        monkeypatch.setattr(sys, "argv", ["plan.py", *given])
        return plan.Plan(passages, plan.options(), plan.Measured.read())

    return call


def test_the_page_is_what_the_script_prints(planned, benchmark_module):
    text = PAGE.read_text()
    assert benchmark_module("marked_page").with_results(text, planned()) == text


def test_bytes_are_those_of_real_indexes(plan):
    measured = plan.Measured.read()
    for kind in plan.KIND_NAMES:
        found = measured.kinds["rows"][kind]["bytes"] * measured.vectors
        # Real ones have docids, too, and tables that do not grow with the vectors: centroids and rotations.
        assert 0 < found - plan.bytes_of(kind, measured.dimension) * measured.vectors < 16e6, kind


def test_the_kinds_are_those_of_the_page_about_indexes(plan):
    page = (PAGE.parent / "indexes.md").read_text()
    for kind, row in plan.Measured.read().kinds["rows"].items():
        name, _, refinement = kind.partition("+")
        shown = f"| `{name}`" + (f" (`{refinement}`)" if refinement else "")
        assert f"{shown} | {row['bytes']:.0f} | {row['build s']:.1f} | " in page, kind
        assert f" | {row['p50 ms']:.2f} | {row['p99 ms']:.2f} | " in page, kind


def test_by_hand(plan, for_passages):
    billion = for_passages(10**9, "--cores", "10", "--memory", "100", "--network", "2", "--latency", "1000000")
    core = billion.measured.cores[0]
    overhead = billion.measured.overhead.value
    assert billion.core_hours(core) == pytest.approx(1e9 / core.value * overhead / 3_600)
    assert billion.gpu_hours == pytest.approx(1e9 / 6_000 * overhead / 3_600)
    assert billion.vector_bytes == 3.072e12
    # int8: 768 bytes, and twice a docid of 28.
    assert billion.index_bytes("int8") == 824e9
    found = billion.searching("int8")
    assert found.machines == -(-824e9 // (100e9 - PROCESS_BYTES[FAISS])) == 9
    # 10 cores of each machine scan an equal shard. Together they read at 100 GB/s, which takes longer.
    by_core = billion.measured.scan("int8").value / billion.measured.vectors * 1e9 / 90
    assert found.scan == pytest.approx(max(by_core, 1e9 / 9 * 768 / 100e9 * 1e3))
    merging = billion.measured.merging
    assert found.merge == pytest.approx(merging(1_000, 10) + merging(1_000, 9) + 1_000 * 32 * 9 / 2e9 * 1e3)
    assert found.total == pytest.approx(found.scan + found.merge + billion.measured.query.value)


def test_merging_between_and_beyond_what_was_measured(plan):
    rows = {"merge 10 hits of 1 shards": {"ms": 1}, "merge 10 hits of 10 shards": {"ms": 10}}
    rows |= {"merge 100 hits of 1 shards": {"ms": 5}, "merge 100 hits of 1,000 shards": {"ms": 500}}
    merging = replace(plan.Measured.read(), scale={"rows": rows}).merging
    assert [merging(10, shards) for shards in (1, 4, 10, 30)] == pytest.approx([1, 4, 10, 30])
    assert merging(11, 1_000) == merging(100, 1_000) == 500
    assert merging(200, 2_000) == 2_000


def test_more_machines_until_it_is_fast_enough_or_merging_costs_more(for_passages):
    counts = (10**7, 10**8, 10**9, 10**10)
    for kind in ("fp16", "ivfrabitq"):
        found = [for_passages(count).searching(kind) for count in counts]
        assert all(each.total <= 200 for each in found if each.in_time)
        assert [each.machines for each in found] == sorted(each.machines for each in found)
    assert (
        for_passages(10**8).searching("fp16").machines
        > for_passages(10**8, "--latency", "900").searching("fp16").machines
    )
    never = for_passages(10**9, "--latency", "1").searching("flat")
    assert not never.in_time
    assert never.total > 1


def test_each_number_has_its_source(planned):
    constants = re.findall(r"^\| .+ \| ([\d.,]+) \| (.+) \|$", planned().partition("### Constants")[2], re.MULTILINE)
    assert len(constants) >= 20
    allowed = r"benchmarks/\w+\.py, .+, [0-9a-f]{7}|docs/gpu\.md|MS MARCO v2's, .+|assumed: `--\w+`"
    assert all(re.fullmatch(allowed, source) for _, source in constants)
    assert "6,000 a second" in (PAGE.parent / "gpu.md").read_text()


def test_prices_only_if_they_are_given(planned):
    assert "### Money" not in planned("--passages", "10M")
    (line,) = re.findall(
        r"^\| 138M .*\|$", planned("--passages", "138M", "--price-disk", "2").partition("### Money")[2], re.MULTILINE
    )
    assert line == "| 138M |  |  | 848 |  |"


def test_limits_come_in_order(planned):
    rows = re.findall(
        r"^\| ([\d.]+)([MBT]) \| .+ \| .+ \|$", planned().partition("### What breaks first")[2], re.MULTILINE
    )
    found = [float(number) * {"M": 1e6, "B": 1e9, "T": 1e12}[letter] for number, letter in rows]
    assert found == sorted(found)
    assert len(found) == 8
