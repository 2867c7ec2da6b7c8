"""The three ways in, suggestions, origins, and what is not trusted."""

from __future__ import annotations

import sys

import pytest

from pyserini_tasb.errors import TasbError
from pyserini_tasb.registry import Listed, Registry, import_extensions, only_trusting

MODULE = '''
"""An outside module."""

def half(score):
    """Half of a score."""
    return score / 2
'''


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A package of somebody else, installed with an entry point."""
    (tmp_path / "some_package").mkdir()
    (tmp_path / "some_package" / "__init__.py").write_text("")
    (tmp_path / "some_package" / "halves.py").write_text(MODULE)
    about = tmp_path / "some_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: some-package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[pyserini_tasb.test_scorings]\nhalved = some_package.halves:half\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("some_package")]:
        del sys.modules[name]


@pytest.fixture
def scorings():
    registry = Registry("scoring", "test-scorings")

    @registry.register("doubled")
    def double(score):
        """Twice a score.

        More about it.
        """
        return 2 * score

    return registry


def test_a_decorator(scorings):
    assert scorings["doubled"](2) == 4
    assert list(scorings) == ["doubled"]


def test_a_module_and_a_name(scorings, outside):
    assert scorings["some_package.halves:half"](2) == 1
    assert list(scorings) == ["doubled", "halved"]  # no name that only a file has


def test_an_entry_point(scorings, outside):
    assert "halved" in scorings
    assert scorings["halved"](2) == 1


def test_what_is_listed(scorings, outside):
    assert scorings.listed() == [
        Listed("doubled", "Twice a score.", "tests.test_registry"),
        Listed("halved", "Half of a score.", "some-package"),
    ]


def test_extensions_are_imported_elsewhere(scorings, outside):
    assert scorings["some_package.halves:half"]
    assert scorings.extensions() == ["some_package.halves", "tests.test_registry"]
    import_extensions(scorings.extensions(), "config.yaml")
    with pytest.raises(TasbError, match=r"config\.yaml\n.*extension `gone`") as raised:
        import_extensions(["gone"], "config.yaml")
    assert "No module named 'gone'" in raised.value.found


def test_prepared():
    registry = Registry("scoring", prepared=lambda name, entry: lambda score: (name, entry(score)))
    registry.add("doubled", lambda score: 2 * score)
    assert registry["doubled"](3) == ("doubled", 6)


def test_a_name_that_is_none(scorings, outside):
    with pytest.raises(TasbError) as raised:
        scorings["halvd"]
    assert raised.value.expected == "a scoring: doubled, halved"
    assert raised.value.do == "did you mean `halved`?"


@pytest.mark.parametrize(("name", "found"), [("some_package.halves:quarter", "quarter"), ("gone.module:x", "gone")])
def test_what_cannot_be_imported(scorings, outside, name, found):
    with pytest.raises(TasbError, match="install its package") as raised:
        scorings[name]
    assert found in raised.value.found


def test_files_of_others_run_no_code_unless_it_is_trusted(scorings, outside):
    with only_trusting([]), pytest.raises(TasbError, match="trust=") as raised:
        scorings["some_package.halves:half"]
    assert "some_package.halves" not in sys.modules
    assert "some_package" in raised.value.do
    with only_trusting(["some_package"]):
        assert scorings["some_package.halves:half"](2) == 1


def test_a_broken_package_is_named(scorings, outside):
    (outside / "some_package" / "halves.py").write_text("raise RuntimeError('broken inside')")
    with pytest.raises(TasbError, match="some-package") as raised:
        scorings["halved"]
    assert raised.value.found == "RuntimeError: broken inside"
    assert scorings["doubled"](1) == 2


def test_a_name_is_taken_once(scorings):
    with pytest.raises(TasbError, match="a name that no scoring has yet"):
        scorings.add("doubled", abs)
