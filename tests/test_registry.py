"""The three ways in, suggestions, origins, and what is not trusted."""

from __future__ import annotations

import functools
import sys

import pytest

from pyserini_tasb.errors import TasbError
from pyserini_tasb.registry import (
    HOMES,
    Listed,
    Registry,
    files_of_others,
    register,
    registry_of,
    trusted_packages,
    trusting,
    untrusted_package,
)

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
    return tmp_path


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


def test_what_is_written_is_found_in_another_process(scorings, outside):
    assert scorings.reference("halved") == "some_package.halves:half"  # though that process has no such entry point
    assert scorings.reference("some_package.halves:half") == "some_package.halves:half"
    half = scorings["halved"]
    scorings.add("half", half)
    assert scorings.reference("half") == "some_package.halves:half"
    assert scorings.reference("doubled") == "doubled"  # inside another function: no module has it


SCRIPT = """
def triple(score):
    return 3 * score

scorings.add("tripled", triple)
"""


def test_a_script_s_own_entry_keeps_its_name(scorings):
    exec(SCRIPT, {"__name__": "__main__", "scorings": scorings})  # noqa: S102
    exec(SCRIPT, {"__name__": "__main__", "scorings": scorings})  # noqa: S102 - the cell of a notebook, again
    assert scorings.reference("tripled") == "tripled"
    with pytest.raises(TasbError, match="which the script itself defines"):
        scorings.portable("tripled")
    assert scorings.listed()[-1].origin == "__main__"


def test_a_name_that_leads_to_something_else_is_not_written(scorings, outside):
    from some_package.halves import half

    @functools.wraps(half)
    def quarter(score):
        return half(half(score))

    scorings.add("quartered", quarter)  # says that it is some_package.halves.half
    assert scorings.reference("quartered") == "quartered"


def test_two_packages_with_one_name(scorings, outside):
    about = outside / "other_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: other-package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[pyserini_tasb.test_scorings]\nhalved = math:sqrt\n")
    with pytest.raises(TasbError, match="those of other-package and some-package"):
        scorings["halved"]
    assert scorings.listed()[-1].summary.startswith("cannot be used: those of other-package")
    assert scorings["some_package.halves:half"](2) == 1


def test_our_own_entries_are_not_replaced():
    pool = registry_of("poolings")
    with pytest.raises(TasbError, match="which pyserini-tasb has registered"):
        pool.add("cls", lambda tokens, _mask: tokens)


@pytest.mark.parametrize("name", [None, "", "a:b", "two words"])
def test_what_is_no_name(scorings, name):
    with pytest.raises(TasbError, match="a name for a scoring"):
        scorings.add(name, abs)


def test_words_of_commands_that_name_code():
    for word in (
        "os:system",
        "--topics=os:system:x y",
        "os:system:A=1 x",
        "pyserini_tasb.workers:os.system",
        "a=os:system",
    ):
        assert untrusted_package(word) in ("os", "pyserini_tasb"), word
    for word in ("tasb:minilm", "tasb", "runs/a.txt", "https://x.org/y", "--encoder=tasb:minilm", "rrf", "C:/x"):
        assert untrusted_package(word) is None, word
    with trusting("os"):
        assert untrusted_package("os:system") is None


def test_trust_ends_with_its_block_whatever_the_order():
    first, second = trusting("os"), trusting("json")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert trusted_packages() == {"json"}
    second.__exit__(None, None, None)
    assert trusted_packages() == frozenset()
    with pytest.raises(TasbError, match="a package that can be imported"), trusting("some-package"):
        pass


def test_every_axis_has_a_registry_of_its_name():
    for axis in HOMES:
        assert registry_of(axis).axis == axis
        assert len(registry_of(axis)) > 0
        assert all(each.summary for each in registry_of(axis).listed())


def test_a_name_registered_and_removed():
    @register("schedules", "flat")
    def flat(_schedule):
        """Always 1."""
        return lambda _step: 1.0

    try:
        assert registry_of("schedules")["flat"](None)(5) == 1
    finally:
        registry_of("schedules").remove("flat")
    assert "flat" not in registry_of("schedules")
    with pytest.raises(TasbError, match="did you mean `schedules`"):
        register("schedule", "flat")


def test_prepared():
    registry = Registry("scoring", prepared=lambda name, entry: lambda score: (name, entry(score)))
    registry.add("doubled", lambda score: 2 * score)
    assert registry["doubled"](3) == ("doubled", 6)


def test_a_name_that_is_none(scorings, outside):
    with pytest.raises(TasbError) as raised:
        scorings["halvd"]
    assert raised.value.expected == "a scoring: doubled, halved"
    assert raised.value.do == "did you mean `halved`?"


@pytest.mark.parametrize(
    ("name", "found", "do"),
    [
        ("some_package.halves:quarter", "no `quarter` there", "give the name of an object in that module"),
        ("some_package.halves:hafl", "no `hafl` there", "did you mean `half`?"),
        ("gone.module:x", "ModuleNotFoundError: No module named 'gone'", "install its package"),
    ],
)
def test_what_cannot_be_imported(scorings, outside, name, found, do):
    with pytest.raises(TasbError) as raised:
        scorings[name]
    assert raised.value.found == found
    assert do in raised.value.do


@pytest.mark.parametrize("entry", ["a text", sys, lambda: 1, lambda score, _further: score])
def test_an_entry_that_cannot_be_called_as_it_will_be(entry):
    scorings = Registry("scoring", takes=("a score",))
    with pytest.raises(TasbError, match="a scoring that takes a score") as raised:
        scorings.add("wrong", entry)
    assert "`wrong`" in raised.value.found
    assert "wrong" not in scorings


def test_an_entry_of_the_wrong_type():
    scorings = Registry("scoring", instances=(int,))
    scorings.add("three", 3)
    with pytest.raises(TasbError, match="which is a int") as raised:
        scorings.add("half", 0.5)
    assert raised.value.found == "`half`, a float"


def test_a_function_in_place_of_a_name(scorings):
    with pytest.raises(TasbError, match="register it"):
        scorings[abs]


def test_files_of_others_run_no_code_unless_it_is_trusted(scorings, outside):
    with files_of_others(), pytest.raises(TasbError, match="--trust some_package") as raised:
        scorings["some_package.halves:half"]
    assert "some_package.halves" not in sys.modules
    assert 'with tasb.trusting("some_package"):' in raised.value.do
    with trusting("some_package"), files_of_others():
        assert scorings["some_package.halves:half"](2) == 1


def test_an_entry_that_was_loaded_for_the_user_is_not_honoured_in_files_of_others(scorings, outside):
    assert scorings["some_package.halves:half"](2) == 1
    with files_of_others(), pytest.raises(TasbError, match="--trust some_package"):
        scorings["some_package.halves:half"]


def test_a_broken_package_is_named(scorings, outside):
    (outside / "some_package" / "halves.py").write_text("raise RuntimeError('broken inside')")
    with pytest.raises(TasbError, match="some-package") as raised:
        scorings["halved"]
    assert raised.value.found == "RuntimeError: broken inside"
    with pytest.raises(
        TasbError, match=r"expected: +a scoring that can be imported as some_package\.halves:half"
    ) as raised:
        scorings["some_package.halves:half"]
    assert raised.value.found == "RuntimeError: broken inside"
    assert scorings["doubled"](1) == 2


def test_a_name_is_taken_once(scorings):
    with pytest.raises(TasbError, match="a name that no scoring has yet"):
        scorings.add("doubled", abs)
