"""What the machine lacks is said before anything runs; what Pyserini has in its cache is used, without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pyserini_tasb.recipes.lookup import prebuilt
from pyserini_tasb.regression import needs
from pyserini_tasb.regression.condition import load_condition
from pyserini_tasb.regression.needs import unpacked
from pyserini_tasb.regression.stages import lay_out_topics, stage_inputs, topics_environment

if TYPE_CHECKING:
    from pathlib import Path


BM25 = "dl19-passage.bm25"


def test_a_missing_index_is_told_with_its_size_and_how_to_get_it(regress):
    done = regress(BM25)
    assert done.status == 2
    assert done.result(BM25)["verdict"] == "MISSING"
    assert (
        "needs Lucene index msmarco-v1-passage, 2.2 GB to download: tasb regress dl19-passage.bm25 --download "
        "(md5 678876e8c99a89933d553609a0fd8793)"
    ) in done.stdout
    assert [need["bytes"] for need in done.result(BM25)["needs"]] == [2170758745]
    assert done.result(BM25)["stages"] == []


def test_a_missing_model_is_told(regress, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = regress("dl20-passage.margin-mse")
    assert done.status == 2
    model = "sebastian-hofstaetter/distilbert-dot-margin_mse-T2-msmarco"
    assert f"needs weights of {model}, 0.3 GB to download: hf download {model}" in done.stdout


def test_encoded_queries_need_no_checkpoint(regress):
    done = regress("dl19-passage.tasb-encoded-queries")
    assert "needs encoded queries distilbert_tas_b-dl19-passage, 0.1 MB to download" in done.stdout
    assert "weights" not in done.stdout


def test_what_a_needed_run_needs_is_told_as_well(regress):
    done = regress("dl19-passage.tasb+bm25")
    assert "msmarco-v1-passage, 2.2 GB" in done.stdout
    assert "msmarco-v1-passage.distilbert-dot-tas_b-b256, 25.2 GB" in done.stdout


def test_too_little_memory_unless_the_index_is_mapped(regress, monkeypatch):
    monkeypatch.setattr(needs.os, "sysconf", lambda _: 100_000)  # 10 GB
    assert "needs 32 GB of memory (here: 10)" in regress("dl19-passage.tasb").stdout
    monkeypatch.setenv("PYSERINI_TASB_MMAP", "1")
    assert "of memory" not in regress("dl19-passage.tasb").stdout


def test_download_without_room_on_the_disk(regress, monkeypatch):
    monkeypatch.setattr(needs.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 0, 4 * 10**9))
    done = regress(BM25, "--download")
    assert done.status == 2
    assert "needs 5 GB of disk" in done.stdout
    assert "(free: 4)" in done.stdout


def test_without_a_gpu(regress, small, stages):
    torch = pytest.importorskip("torch")
    done = regress(small.made(resources={"disk_gb": 0, "memory_gb": 0, "gpu": True}), "--dry-run")
    assert ("MISSING: a GPU" in done.stdout) != torch.cuda.is_available()


def test_a_run_that_is_not_there(regress, small):
    done = regress(small.regression(run="no-such-run"))
    assert done.status == 2
    assert "needs the run no-such-run" in done.stdout


def test_without_java(regress, monkeypatch):
    monkeypatch.setattr(needs, "find_java", lambda: None)
    assert "needs Java 21 or newer" in regress("cacm.bm25").stdout


@pytest.fixture
def cached_index() -> Path:
    """The place of an index of Pyserini's, with something in it."""
    place = unpacked(prebuilt("msmarco-v1-passage"))
    place.mkdir(parents=True)
    (place / "segments_1").write_text("as good as any")
    return place


def test_what_is_in_pyserinis_cache_is_not_missing(regress, cached_index):
    plan = regress(BM25, "--dry-run").stdout
    assert "8,841,823 records, here" in plan
    assert "MISSING" not in plan


def test_an_archive_of_which_nobody_says_how_many_records_it_has(regress, small, tmp_path):
    about = "{name: mine, kind: faiss, archive: mine.tar.gz, bytes: 5_000_000, md5: d41d8cd98f00b204e9800998ecf8427e}"
    (tmp_path / "mine.yaml").write_text(about)
    assert (
        "faiss mine: 5.0 MB, not here"
        in regress(small.made(prebuilt=[str(tmp_path / "mine.yaml")]), "--dry-run").stdout
    )


def test_a_pre_built_index_is_an_input_of_what_searches_it(cached_index, output):
    condition = load_condition(BM25)
    (stage,) = condition.stages
    assert stage_inputs(stage.step, condition, output) == (str(cached_index),)


ASK_PYSERINI = """
from pyserini.pyclass import autoclass
from pyserini.util import download_prebuilt_index
reader, topics = (autoclass("io.anserini.search.topicreader." + name) for name in ("TopicReader", "Topics"))
for name in ("TREC2019_DL_PASSAGE", "TREC2020_DL", "MSMARCO_PASSAGE_DEV_SUBSET"):
    print(reader.getTopicsWithStringIds(getattr(topics, name)).size())
print(download_prebuilt_index("msmarco-v1-passage", verbose=False))
"""


def test_pyserini_looks_where_we_look_and_finds_the_topics_that_we_bring(suitable_java, cached_index, tmp_path):
    lay_out_topics(tmp_path / "java home")
    done = subprocess.run(
        [sys.executable, "-c", ASK_PYSERINI],
        env={**os.environ, **topics_environment(tmp_path / "java home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["43", "200", "6980", str(cached_index)], done.stderr
