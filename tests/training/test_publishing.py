"""`tasb push-model`: what goes up, what does not, what the card says, and what the hub may answer."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard

import pyserini_tasb as tasb
from tests.command_line import tasb as tasb_command
from tests.conftest import TINY_MODEL, plain_vectors
from tests.hub_server import Repository, running_hub

NAME = "me/mine"
GOES_UP = {
    "1_Pooling/config.json", "README.md", "config.json", "config_sentence_transformers.json", "curves.png",
    "model.safetensors", "modules.json", "sentence_bert_config.json", "tokenizer.json", "tokenizer_config.json",
    "training.json",
}  # fmt: skip
VALIDATED = {"validation": {"every": 2, "patience": 2}, "checkpoint": {"every": 2}}


@pytest.fixture(scope="module")
def trained(training_set, tmp_path_factory):
    data = {name: str(getattr(training_set, name)) for name in ("pairs", "clusters", "validation")}
    config = training_set.config(tmp_path_factory.mktemp("published"), data=data, max_steps=2, **VALIDATED)
    return tasb.train(config)


@pytest.fixture
def hub(monkeypatch):
    with running_hub() as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # large files by HTTP
        monkeypatch.setenv("HF_TOKEN", "hf_write")
        yield hub


@pytest.fixture
def model(tmp_path):
    """A model that `tasb train` has not made."""
    return Path(shutil.copytree(TINY_MODEL, tmp_path / "mine"))


def test_what_goes_up(trained, hub, training_set):
    pushed = tasb.push_model(trained, repo=NAME)
    repository = hub.repositories[NAME]
    assert repository.private
    assert repository.files.keys() == GOES_UP | {next(trained.model.glob("*.yaml")).name}
    assert {name: len(content) for name, content in repository.files.items()} == pushed.files
    assert repository.commits == [f"Upload the model with pyserini-tasb {tasb.__version__}"]
    assert (pushed.url, pushed.private) == (f"{hub.endpoint}/{NAME}", True)
    assert pushed.summary.startswith(f"{hub.endpoint}/{NAME} (private): {len(pushed.files)} files, ")
    everything = b"\n".join(content for name, content in repository.files.items() if name != "model.safetensors")
    for place in (trained.folder, training_set.pairs.parent, training_set.teacher.parent, TINY_MODEL.parent):
        assert str(place).encode() not in everything, place


def test_a_public_repository(trained, hub):
    assert not tasb.push_model(trained, repo=NAME, public=True).private
    assert not hub.repositories[NAME].private


def test_others_get_the_same_vectors(trained, hub, collection, tmp_path):
    from sentence_transformers import SentenceTransformer

    tasb.push_model(trained, repo=NAME)
    for name, content in hub.repositories[NAME].files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    texts = collection.texts[:9]
    expected = tasb.TasbDocumentEncoder(trained.encoder, device="cpu").encode(texts)
    np.testing.assert_array_equal(tasb.TasbDocumentEncoder(f"tasb:{tmp_path}", device="cpu").encode(texts), expected)
    (card,) = tmp_path.glob("*.yaml")
    np.testing.assert_array_equal(tasb.TasbDocumentEncoder(str(card), device="cpu").encode(texts), expected)
    theirs = SentenceTransformer(str(tmp_path), device="cpu")
    lengths = np.linalg.norm(expected, axis=1, keepdims=True)
    for found in (theirs.encode_document(texts), plain_vectors(tmp_path, texts)):
        np.testing.assert_allclose(found / lengths, expected / lengths, rtol=0, atol=1e-6)


def test_what_the_card_says(trained, training_set):
    teacher = training_set.teacher.name
    card = ModelCard(tasb.push_model(trained, repo=NAME, licence="apache-2.0", dry_run=True).model_card)
    data = card.data.to_dict()
    assert (data["license"], data["library_name"]) == ("apache-2.0", "transformers")
    assert {"tas-b", "dense-retrieval", "sentence-transformers"} <= set(data["tags"])
    lines = card.text.splitlines()
    best = trained.metrics["nDCG@10"]
    for line in (
        f"| Base model | `{TINY_MODEL.name}` |",
        "| Trained on | see [Data](#data) |",
        f"| Teachers | the scores of the training pairs; in the batch, `tasb:{teacher}` |",
        "| Measured | see [Numbers](#numbers) |",
        "| Licence | apache-2.0 |",
        f'model = SentenceTransformer("{NAME}")',
        f'folder = "{NAME}"',
    ):
        assert line in lines, line
    assert re.search(
        rf"^\| this model \(step \d\) \| validation set, .* \| nDCG@10 \| {best:.4f} \|$", card.text, re.MULTILINE
    )
    assert f"--encoder tasb:{NAME} " in card.text  # it is read as TAS-B, and is one
    assert "Efficiently Teaching an Effective Dense Retriever" in card.text
    assert "this folder" not in card.text


def test_what_is_unknown(model):
    card = tasb.push_model(model, repo=NAME, dry_run=True).model_card
    for line in (
        "| Base model | unknown |",
        "| Trained on | unknown |",
        "| Teachers | unknown |",
        "| Measured | unknown |",
        "| Licence | unknown: ask who made it before you use it |",
    ):
        assert line in card.splitlines(), line
    assert "Trained from" not in card
    assert "license" not in ModelCard(card).data.to_dict()


def test_its_python_for_the_hub_gives_the_encoders_vectors(model):
    (model / "mine.yaml").write_text("name: mine\nmodel: .\npooling: mean\nquery_prefix: 'query: '\n")
    card = tasb.push_model(model, repo=NAME, dry_run=True).model_card
    _, code = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    names = {}
    exec(code.replace(f'"{NAME}"', repr(str(model))), names)  # noqa: S102 - that it runs is what is tested
    query = tasb.TasbQueryEncoder(str(model / "mine.yaml")).encode("what is a dense retriever")
    np.testing.assert_allclose(names["query"][0].numpy(), query, atol=1e-6)


def test_a_model_that_is_not_read_as_tasb_has_its_encoder_card_in_the_model_card(model, tmp_path, monkeypatch):
    (model / "mine.yaml").write_text("name: mine\nmodel: .\npooling: mean\nquery_prefix: 'query: '\n")
    card = tasb.push_model(model, repo=NAME, dry_run=True).model_card
    assert f"--encoder tasb:{NAME} " not in card
    assert "--encoder tasb:mine " in card
    monkeypatch.setenv("PYSERINI_TASB_HOME", str(tmp_path))
    (tmp_path / "encoders").mkdir()
    lines = re.search(r"```yaml\n(.*?)```", card, re.DOTALL)[1]
    assert yaml.safe_load(lines) == {"name": "mine", "model": NAME, "pooling": "mean", "query_prefix": "query: "}
    (tmp_path / "encoders" / "mine.yaml").write_text(lines.replace(NAME, str(model)))
    theirs, ours = (tasb.TasbQueryEncoder(name).encode("a query") for name in ("tasb:mine", str(model / "mine.yaml")))
    np.testing.assert_array_equal(theirs, ours)


def test_numbers_of_the_encoder_card(model):
    number = {"collection": "dl19-passage", "measure": "nDCG@10", "value": 0.7, "source": "tasb evaluate"}
    (model / "mine.yaml").write_text(yaml.safe_dump({"name": "mine", "model": ".", "published": [number]}))
    card = tasb.push_model(model, repo=NAME, dry_run=True).model_card
    assert "| dl19-passage | nDCG@10 | 0.7000 | tasb evaluate |" in card.splitlines()
    assert "| Measured | see [Numbers](#numbers) |" in card.splitlines()
    assert not re.search(r"[^\n|]\n\|", card)  # a table needs an empty line before it


POOLING = """
def first_and_last(tokens, mask):
    return (tokens[:, 0] + tokens[:, -1]).float()
"""


def test_a_pooling_that_sentence_transformers_does_not_have(model, tmp_path, monkeypatch):
    (tmp_path / "my_poolings.py").write_text(POOLING)
    monkeypatch.syspath_prepend(tmp_path)
    (model / "mine.yaml").write_text("name: mine\nmodel: .\npooling: my_poolings:first_and_last\n")
    with tasb.trusting("my_poolings"):
        planned = tasb.push_model(model, repo=NAME, dry_run=True)
    assert "## Not with sentence-transformers" in planned.model_card
    assert "SentenceTransformer(" not in planned.model_card
    assert not {"modules.json", "config_sentence_transformers.json"} & planned.files.keys()


def test_a_dry_run_asks_the_hub_nothing_and_shows_all(model, hub, monkeypatch, capsys):
    monkeypatch.delenv("HF_TOKEN")
    for name in (
        "optimizer.pt",
        "training_args.bin",
        "pairs.tsv",
        "checkpoint-1/model.safetensors",
        "pytorch_model.bin",
    ):
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_bytes(b"0")
    assert tasb_command("push-model", "--encoder", model, "--repo", NAME, "--dry-run") == 0
    printed = capsys.readouterr().out
    assert hub.asked == []
    size = (model / "model.safetensors").stat().st_size
    assert re.search(rf"^model\.safetensors +{size:,}$", printed, re.MULTILINE)
    left_out = "checkpoint-1/model.safetensors, optimizer.pt, pairs.tsv, pytorch_model.bin, training_args.bin"
    assert f"\nleft out: {left_out}\n" in printed
    assert "\n# mine\n" in printed
    assert printed.endswith(f" for {NAME} (private). This was a dry run: nothing was uploaded.\n")


def test_a_model_card_of_ones_own(model, hub, tmp_path):
    (tmp_path / "card.md").write_text("---\nlicense: mit\n---\n# Mine\n")
    tasb.push_model(model, repo=NAME, model_card=tmp_path / "card.md")
    assert hub.repositories[NAME].files["README.md"] == (tmp_path / "card.md").read_bytes()
    with pytest.raises(tasb.TasbError, match="licence= or model_card="):
        tasb.push_model(model, repo=NAME, model_card=tmp_path / "card.md", licence="mit", dry_run=True)
    with pytest.raises(tasb.TasbError, match="a model card in Markdown"):
        tasb.push_model(model, repo=NAME, model_card=tmp_path / "no.md", dry_run=True)


# What is there already.


def test_a_repository_with_a_model_is_replaced_only_if_asked(model, hub):
    old = {
        "README.md": b"",
        ".gitattributes": b"",
        "notes.txt": b"",
        "model-00001-of-00002.safetensors": b"",
        "2_Normalize/config.json": b"",
    }
    hub.repositories[NAME] = Repository(files=dict(old))
    with pytest.raises(tasb.TasbError, match="one with 1 files of a model") as refused:
        tasb.push_model(model, repo=NAME)
    assert "overwrite=True" in str(refused.value)
    assert hub.repositories[NAME].files == old
    tasb.push_model(model, repo=NAME, overwrite=True)
    files = hub.repositories[NAME].files
    assert {"notes.txt", ".gitattributes", "model.safetensors"} <= files.keys()
    assert "model-00001-of-00002.safetensors" not in files  # transformers might read it
    assert files["README.md"] != b""


def test_an_empty_repository_is_filled_and_stays_as_public_as_it_was(model, hub):
    hub.repositories[NAME] = Repository(private=False, files={".gitattributes": b""})
    with pytest.raises(tasb.TasbError, match="one that everybody can read"):
        tasb.push_model(model, repo=NAME)
    assert hub.repositories[NAME].commits == []
    assert not tasb.push_model(model, repo=NAME, public=True).private
    hub.repositories[NAME] = Repository(private=True)
    assert tasb.push_model(model, repo=NAME, public=True).private  # its page says so; it is not opened here
    assert "POST /api/repos/create" not in hub.asked


# What is refused. Nothing has gone up then.


def refused(hub, model, repo=NAME, **options):
    with pytest.raises(tasb.TasbError) as error:
        tasb.push_model(model, repo=repo, **options)
    assert all(not repository.commits for repository in hub.repositories.values())
    return error.value


def test_without_a_token(model, hub, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    error = refused(hub, model)
    assert (error.found, hub.asked) == ("none", [])
    assert "`hf auth login`, or set HF_TOKEN" in error.do


@pytest.mark.parametrize(
    ("token", "refuse", "expected", "found"),
    [
        ("hf_read", {}, "that may write", "may only read"),
        ("hf_unknown", {}, "that the hub knows", "401"),
        ("hf_write", {"/api/repos/create": 403}, "may write to `me`", "403"),
        ("hf_write", {"/commit/": 403}, "may write to `me`", "403"),
        ("hf_write", {"/commit/": 409}, "to which no other upload is writing", "409"),
        ("hf_write", {"/api/whoami": 500}, "the hub's consent", "500"),
    ],
)
def test_what_the_hub_refuses(model, hub, monkeypatch, token, refuse, expected, found):
    monkeypatch.setenv("HF_TOKEN", token)
    hub.refuse.update(refuse)
    error = refused(hub, model)
    assert expected in error.expected
    assert found in error.found
    assert "{" not in str(error)


def test_a_model_card_that_the_hub_cannot_read(model, hub):
    hub.refuse["/api/validate-yaml"] = 400
    error = refused(hub, model, licence="My own")
    assert error.expected == "a model card that the hub can read"
    assert 'license: "My own" is none' in error.found
    assert "check licence=" in error.do


def test_without_a_network(model, hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert "check the network" in refused(hub, model).do


@pytest.mark.parametrize(
    "repo", ["mine", "me/", "/mine", "me/mine/model", "me/mi ne", "me/--mine", "https://hub/me/mine", ""]
)
def test_no_name_of_a_repository(model, hub, repo):
    assert "ORGANISATION/NAME" in refused(hub, model, repo).expected
    assert hub.asked == []


def test_models_that_cannot_go_up(model, hub, tmp_path):
    assert "a model of the hub" in refused(hub, "tasb:organisation/model").found
    (model / "export.json").write_text("{}")
    (model / "model.onnx").write_bytes(b"")
    assert "exported to ONNX" in refused(hub, model).found
    (model / "export.json").unlink()
    (model / "model.onnx").unlink()
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    assert "a pickle" in refused(hub, model).found
    assert hub.asked == []


def test_a_folder_that_was_made_for_other_vectors(model, hub):
    (model / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Dense", "path": "2_Dense"}]))
    assert "Dense" in refused(hub, model).found


def test_places_of_this_machine(model, hub, monkeypatch, tmp_path):
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"_name_or_path": "/home/me/secret"}))
    tasb.push_model(model, repo=NAME)
    assert b"secret" not in hub.repositories.pop(NAME).files["config.json"]
    (model / "config.json").write_text(json.dumps(config | {"teacher": "/home/me/secret"}))
    assert refused(hub, model).found == "config.json: '/home/me/secret'"
    (model / "config.json").write_text(json.dumps(config))
    (model / "mine.yaml").write_text(f"name: mine\nmodel: .\ndescription: from {model}\n")
    assert {part.partition(":")[0] for part in refused(hub, model).found.split("; ")} == {"mine.yaml", "README.md"}


@pytest.mark.parametrize("damage", [("tiny", "\\ud800"), ("{", "")])
def test_a_damaged_origin(trained, tmp_path, damage):
    folder = Path(shutil.copytree(trained.model, tmp_path / "model"))
    origin = folder / "training.json"
    origin.write_text(origin.read_text().replace(*damage, 1))
    with pytest.raises(tasb.TasbError, match="remove the file, and the card will say `unknown`") as caught:
        tasb.push_model(folder, repo=NAME, dry_run=True)
    assert "training.json" in str(caught.value)
