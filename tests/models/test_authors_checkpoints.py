"""BERT_CAT and ColBERT as their authors published them: full-size, in a folder or the hub's cache, in a pickle."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from pyserini_tasb import TasbError
from pyserini_tasb.formats.text_store import ListedTexts
from pyserini_tasb.models.headed_checkpoint import transformer_config
from pyserini_tasb.reranking.scorers import ScoringOptions, load_scorer
from tests.hub_cache import put_into_hub_cache
from tests.models.headed_models import (
    BASE,
    BERT_CAT_CONFIG,
    BERT_CAT_ID,
    COLBERT_CONFIG,
    COLBERT_ID,
    plain_bert_cat_score,
    plain_colbert_score,
    plain_distilbert,
    plain_tiny_distilbert,
    random_distilbert,
    random_head,
    tiny_bert_cat,
    tiny_colbert,
    write_authors_folder,
)

QUERY, PASSAGE, OTHER = (
    "What is a sort of lists?",
    "Lists are sorted by merging.",
    "An algorithm for matrices, in ALGOL",
)


@pytest.fixture(scope="module")
def base_weights():
    return random_distilbert(BASE)


@pytest.fixture
def folder(tmp_path):
    yield tmp_path / "model"
    shutil.rmtree(tmp_path / "model")  # 265 MB, which pytest would keep


def scores(model, **options):
    pairs = ListedTexts([QUERY]), ListedTexts([PASSAGE, OTHER])
    loaded = load_scorer(str(model), ScoringOptions("cpu", **options), allow_bin=True)
    return loaded.score_pairs(*pairs, np.array([0, 0]), np.array([0, 1]))


def test_full_size_bert_cat(folder, base_weights):
    head = random_head(1, 768)
    transformer = plain_distilbert(base_weights)
    expected = [plain_bert_cat_score(transformer, head, QUERY, passage) for passage in (PASSAGE, OTHER)]
    assert abs(expected[0] - expected[1]) > 1e-3
    write_authors_folder(folder, BERT_CAT_CONFIG, base_weights, head)
    np.testing.assert_allclose(scores(folder), expected, atol=1e-4)


def test_full_size_colbert(folder, base_weights):
    head = random_head(768, 768)
    transformer = plain_distilbert(base_weights)
    expected = [plain_colbert_score(transformer, head, QUERY, passage) for passage in (PASSAGE, OTHER)]
    write_authors_folder(folder, COLBERT_CONFIG, base_weights, head)
    np.testing.assert_allclose(scores(folder), expected, rtol=1e-5)


def test_a_colbert_published_for_training_is_the_same(tmp_path):
    expected = scores(tiny_colbert(tmp_path / "inference"))
    assert np.array_equal(scores(tiny_colbert(tmp_path / "training", return_vecs=True)), expected)


def test_bert_base_is_known_by_its_name_as_well(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(BERT_CAT_CONFIG | {"bert_model": "bert-base-uncased"}))
    config = transformer_config(tmp_path)
    sizes = config.num_hidden_layers, config.hidden_size, config.intermediate_size, config.num_attention_heads
    assert (config.model_type, config.vocab_size, *sizes) == ("bert", 30_522, 12, 768, 3_072, 12)


def test_a_transformer_that_is_not_here_is_named(tmp_path):
    folder = tiny_bert_cat(tmp_path / "cat", bert_model=str(tmp_path / "no-such-bert"))
    with pytest.raises(TasbError, match=r"no-such-bert[\s\S]*set `bert_model` to a model of the hub") as caught:
        scores(folder)
    assert "distilbert-base-uncased" in caught.value.expected


ASK = f"""
import json
import numpy as np
from pyserini_tasb.reranking.scorers import ScoringOptions
from pyserini_tasb.reranking.scorers import load_scorer
from pyserini_tasb.formats.text_store import ListedTexts
one = np.zeros(1, dtype=np.int64)
scores = [
    load_scorer(model, ScoringOptions("cpu"), allow_bin=True)
    .score_pairs(ListedTexts([{QUERY!r}]), ListedTexts([{PASSAGE!r}]), one, one).tolist()
    for model in ({BERT_CAT_ID!r}, {COLBERT_ID!r})
]
print(json.dumps(scores))
"""


def test_hub_cache_without_network(tmp_path):
    put_into_hub_cache(tiny_bert_cat(tmp_path / "cat"), tmp_path / "home" / "hub", BERT_CAT_ID)
    put_into_hub_cache(tiny_colbert(tmp_path / "colbert"), tmp_path / "home" / "hub", COLBERT_ID)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", ASK], capture_output=True, text=True, check=False,
        env=environment | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (cat,), (colbert,) = json.loads(done.stdout)
    assert cat == pytest.approx(
        plain_bert_cat_score(plain_tiny_distilbert(), random_head(1, 32), QUERY, PASSAGE), abs=1e-4
    )
    assert colbert == pytest.approx(
        plain_colbert_score(plain_tiny_distilbert(2), random_head(16, 32), QUERY, PASSAGE), rel=1e-5
    )


@pytest.mark.parametrize("make", [tiny_bert_cat, tiny_colbert])
def test_pickles_need_the_users_word(tmp_path, make):
    with pytest.raises(TasbError, match=r"pytorch_model\.bin, which is a pickle") as caught:
        load_scorer(str(make(tmp_path / "model")))
    assert "--allow-bin" in caught.value.do
    assert "allow_bin: true" in caught.value.do


def test_a_pickle_that_runs_code_is_not_run(tmp_path):
    import torch

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    folder = tiny_bert_cat(tmp_path / "model")
    torch.save({"bert_model.embeddings.word_embeddings.weight": Evil()}, folder / "pytorch_model.bin")
    with pytest.raises(TasbError, match="was not run") as caught:
        load_scorer(str(folder), allow_bin=True)
    assert not (tmp_path / "owned").exists()
    assert "weights_only" not in str(caught.value)
