"""BERT_CAT and ColBERT folders of our own: made, saved, loaded."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import CrossEncoder, SentenceTransformer
from transformers import AutoModel, BertConfig, BertModel

from pyserini_tasb.models.bert_cat import load_bert_cat, new_bert_cat, save_bert_cat
from pyserini_tasb.models.checkpoints import find_checkpoint
from pyserini_tasb.models.colbert import load_colbert, new_colbert, save_colbert
from tests.conftest import TINY_MODEL
from tests.models.headed_models import (
    BERT_CAT_CONFIG,
    pair_ids,
    plain_tiny_distilbert,
    random_head,
    tiny_bert_cat,
    tiny_colbert,
    write_authors_folder,
)

IDS, SEGMENTS = pair_ids("sort lists", "merging of sorted lists")
MASK = torch.ones_like(IDS)


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory):
    """A transformer with segments and a pooler."""
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=2_224, initializer_range=0.3, **size)).eval().save_pretrained(folder)
    return folder


def save_new(folder, model, save):
    folder.mkdir()
    save(folder, model)
    return folder


def test_bert_cat_comes_back_as_it_was_saved(tmp_path):
    model = new_bert_cat(TINY_MODEL, seed=3)
    folder = save_new(tmp_path / "cat", model, save_bert_cat)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["BERT_Cat"]
    again = load_bert_cat(folder)
    assert not again.training
    assert torch.equal(again(IDS, MASK), model.eval()(IDS, MASK))


def test_colbert_comes_back_as_it_was_saved(tmp_path):
    model = new_colbert(TINY_MODEL, dimension=24, query_masks=5, seed=3)
    folder = save_new(tmp_path / "colbert", model, save_colbert)
    config = json.loads((folder / "config.json").read_text())
    assert (config["architectures"], config["compression_dim"], config["query_masks"]) == (["ColBERT"], 24, 5)
    again = load_colbert(folder)
    assert not again.training
    assert (again.dimension, again.query_masks) == (24, 5)
    assert torch.equal(again(IDS, MASK), model.eval()(IDS, MASK))


@pytest.mark.parametrize(
    ("make", "save", "load"),
    [(new_bert_cat, save_bert_cat, load_bert_cat), (new_colbert, save_colbert, load_colbert)],
)
def test_others_refuse_it_and_what_earlier_versions_wrote_is_read(tmp_path, make, save, load):
    """Under the transformer's own `model_type`, others found no weights and took random ones, other ones each time."""
    model = make(TINY_MODEL, seed=3)
    folder = save(shutil.copytree(TINY_MODEL, tmp_path / "new"), model) or tmp_path / "new"
    for others in (AutoModel.from_pretrained, CrossEncoder, SentenceTransformer):
        with pytest.raises(ValueError, match="model type `pyserini-tasb-"):
            others(str(folder))
    config = json.loads((folder / "config.json").read_text())
    earlier = config.pop("transformer") | {key: value for key, value in config.items() if key != "model_type"}
    (folder / "config.json").write_text(json.dumps(earlier))
    assert torch.equal(load(folder)(IDS, MASK), model.eval()(IDS, MASK))


def test_the_authors_come_back_as_safetensors(tmp_path):
    for make, load, save in ((tiny_bert_cat, load_bert_cat, save_bert_cat), (tiny_colbert, load_colbert, save_colbert)):
        model = load(make(tmp_path / f"{make.__name__}-theirs"))
        folder = save_new(tmp_path / make.__name__, model, save)
        assert torch.equal(load(folder)(IDS, MASK), model(IDS, MASK))
    assert load_colbert(folder).query_masks == 8


def test_the_names_in_the_file_are_the_authors(tmp_path):
    published = torch.load(tiny_bert_cat(tmp_path / "theirs") / "pytorch_model.bin")
    ours = load_file(save_new(tmp_path / "ours", new_bert_cat(TINY_MODEL, seed=0), save_bert_cat) / "model.safetensors")
    assert ours.keys() == published.keys() - {"bert_model.embeddings.position_ids"}


def test_a_new_head_is_random_by_its_seed_alone():
    weights = []
    for seed, noise in ((1, 5), (1, 6), (2, 5)):
        torch.manual_seed(noise)
        models = new_bert_cat(TINY_MODEL, seed=seed), new_colbert(TINY_MODEL, dimension=200, seed=seed)
        weights.append([models[0].head.weight, models[1].compressor.weight])
        assert models[0].head.bias.item() == 0
        # A head as wide as this keeps the length of vectors on the average.
        assert models[1].compressor.weight.square().sum(dim=0).mean().item() == pytest.approx(1, abs=0.1)
    first, again, other = weights
    for number in (0, 1):
        assert torch.equal(first[number], again[number])
        assert not torch.equal(first[number], other[number])


def test_a_published_bert_is_scored_from_what_it_pools(tmp_path, tiny_bert):
    transformer, head = BertModel.from_pretrained(tiny_bert).eval(), random_head(1, 32)
    config = BERT_CAT_CONFIG | {"bert_model": str(tiny_bert)}
    folder = write_authors_folder(tmp_path / "cat", config, transformer.state_dict(), head)
    with torch.no_grad():
        output = transformer(IDS, token_type_ids=SEGMENTS)
        expected = output.pooler_output[0] @ head["weight"][0] + head["bias"][0]
    model = load_bert_cat(folder)
    torch.testing.assert_close(model(IDS, MASK, SEGMENTS), expected[None])
    saved = save_new(tmp_path / "saved", model, save_bert_cat)
    torch.testing.assert_close(load_bert_cat(saved)(IDS, MASK, SEGMENTS), expected[None])


def test_our_bert_is_scored_from_the_cls_vector(tmp_path, tiny_bert):
    model = new_bert_cat(tiny_bert, seed=0).eval()
    with torch.no_grad():
        cls = BertModel.from_pretrained(tiny_bert).eval()(IDS, token_type_ids=SEGMENTS).last_hidden_state[0, 0]
        torch.testing.assert_close(model(IDS, MASK, SEGMENTS), cls[None] @ model.head.weight[0] + model.head.bias)
    folder = save_new(tmp_path / "cat", model, save_bert_cat)
    assert not [name for name in load_file(folder / "model.safetensors") if "pooler" in name]
    assert torch.equal(load_bert_cat(folder)(IDS, MASK, SEGMENTS), model(IDS, MASK, SEGMENTS))


def test_scores_are_fp32_under_autocast(tmp_path):
    model = load_bert_cat(tiny_bert_cat(tmp_path / "cat"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(IDS, MASK).dtype == torch.float32


def test_config_json_does_not_round_the_weights(tmp_path):
    folder = save_new(tmp_path / "cat", load_bert_cat(tiny_bert_cat(tmp_path / "theirs")), save_bert_cat)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    weights = load_bert_cat(folder).transformer.state_dict()["embeddings.word_embeddings.weight"]
    assert torch.equal(weights, plain_tiny_distilbert().state_dict()["embeddings.word_embeddings.weight"])


def test_a_start_in_a_pickle_that_was_allowed(tmp_path):
    start = shutil.copytree(TINY_MODEL, tmp_path / "start")
    weights = load_file(start / "model.safetensors")
    torch.save(weights, start / "pytorch_model.bin")
    (start / "model.safetensors").unlink()
    model = new_colbert(find_checkpoint(str(start), allow_bin=True), dimension=4, seed=0)
    name = "embeddings.word_embeddings.weight"
    assert torch.equal(model.transformer.state_dict()[name], weights[name])
