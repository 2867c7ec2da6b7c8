"""The commands of Table 7's re-rankers, with a tiny index and tiny models in the place of the real ones."""

from __future__ import annotations

import yaml
from huggingface_hub import constants

from pyserini_tasb.formats.named import load_run
from pyserini_tasb.recipes.lookup import own_folder, prebuilt
from pyserini_tasb.regression import needs
from pyserini_tasb.regression.needs import unpacked
from tests.hub_cache import put_into_hub_cache
from tests.reranking.scorers.tiny_t5 import make_t5

NAME = "dl19-passage.bm25-tuned-monot5-duot5"


def test_monot5_and_duot5(regress, lucene_index, suitable_java, tmp_path, monkeypatch):
    monkeypatch.setattr(needs, "_has_gpu", lambda: True)
    monkeypatch.setattr(needs.os, "sysconf", lambda _: 10**6)  # bytes of memory, by its square
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))  # in this process it has been read
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    place = unpacked(prebuilt("msmarco-v1-passage"))
    place.parent.mkdir(parents=True)
    place.symlink_to(lucene_index)
    for model, seed in (("monot5", 1), ("duot5", 2)):
        put_into_hub_cache(make_t5(tmp_path / model, seed), tmp_path / "hub", f"castorini/{model}-3b-msmarco")
    about = yaml.safe_load((own_folder("regressions") / f"{NAME}.yaml").read_text())
    (first_stage,) = about.pop("runs_of")
    # Pyserini counts the terms of a pre-built index before it searches it by its name.
    search = ["pyserini.search.lucene", "--index", str(lucene_index), "--topics", "dl19-passage", "--hits", "4"]
    search += ["--bm25", "--output", f"runs/{first_stage}.txt"]
    about["stages"].insert(0, {"stage": "search", "command": search, "outputs": search[-1:]})
    path = tmp_path / f"{NAME}.yaml"
    path.write_text(yaml.safe_dump(about))
    done = regress(path)
    result = done.result(NAME)
    assert [(stage["stage"], stage["failure"]) for stage in result["stages"]] == [
        ("search", None), ("rerank", None), ("rerank", None), ("evaluate", None),
    ]  # fmt: skip
    assert (done.status, result["verdict"]) == (1, "FAIL")  # other passages than TREC judged
    first, mono, duo = (
        load_run(str(done.output / "runs" / f"dl19-passage.{run}.txt"))
        for run in ("bm25-tuned", "bm25-tuned-monot5", "bm25-tuned-monot5-duot5")
    )
    assert {qid: set(ranking) for qid, ranking in first.items()} == {qid: set(ranking) for qid, ranking in duo.items()}
    assert any(list(first[qid]) != list(mono[qid]) for qid in mono)
    assert any(list(mono[qid]) != list(duo[qid]) for qid in mono)
