"""Verbs and their functions have the same names and parameters; help ends with an example; imports cost nothing."""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import pyserini_tasb
from pyserini_tasb.cli.main import GROUPS, build_parser
from pyserini_tasb.cli.verbs import OWN
from pyserini_tasb.errors import Argument
from tests.command_line import parse, tasb
from tests.command_line_options import has_a_line, name_of, verbs

ROOT = Path(__file__).parents[2]
VERBS = {verb.name: verb for group in GROUPS.values() for verb in group}
# What Python has in hand and a command line has not.
ONLY_IN_PYTHON = {"encode": {"texts", "kind"}}


def options_of(verb):
    """Each option by the name under which the function gets it."""
    options = argparse.ArgumentParser(add_help=False)
    verb.add_options(options)
    return {action.dest: action for action in options._actions if action.dest not in (*OWN, *verb.printing)}


def plain(default):
    """A default, where an empty list of the command line is an empty tuple in Python."""
    return tuple(default) if isinstance(default, list) else default


@pytest.mark.parametrize("name", VERBS)
def test_a_verbs_options_are_its_functions_parameters(name):
    verb = VERBS[name]
    options, parameters = options_of(verb), inspect.signature(verb.function).parameters
    assert set(options) | ONLY_IN_PYTHON.get(name, set()) == set(parameters)
    for each, action in options.items():
        default = parameters[each].default
        if action.required or (not action.option_strings and action.nargs not in ("?", "*")):
            # In Python, an output may be left out where there is an object to return.
            assert default in (inspect.Parameter.empty, None)
        elif default is not inspect.Parameter.empty:  # without a default: one of several options is required
            assert plain(action.default) == plain(default), each


@pytest.mark.parametrize("name", VERBS)
def test_the_first_parameters_are_what_flows_in(name):
    kinds = [parameter.kind for parameter in inspect.signature(VERBS[name].function).parameters.values()]
    assert set(kinds) <= {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    assert kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD) <= 3


@pytest.mark.parametrize("name", VERBS)
def test_its_help_ends_with_an_example_that_the_parser_takes(name, capsys):
    with pytest.raises(SystemExit):
        tasb(name, "--help")
    *_, head, example = capsys.readouterr().out.rstrip().splitlines()
    assert (head, example) == ("example:", f"  {VERBS[name].example}")
    command, *words = shlex.split(example)
    assert command == "tasb"
    assert parse(*words).verb == name


def test_every_option_is_explained_in_sentences():
    texts = {
        " ".join(("tasb", *words, name_of(action))): action.help or ""
        for words, tree in verbs(build_parser())
        for action in tree._actions
        if has_a_line(action)
    }
    assert [option for option, text in texts.items() if not re.fullmatch("[A-Z\"'`].*[.]", text)] == []


def test_only_the_typed_verb_gets_its_options():
    trees = dict(verbs(build_parser(["tune", "--help"])))
    assert [words[0] for words in trees if words] == list(VERBS)
    assert {words for words, tree in trees.items() if words and len(tree._actions) > 1} == {("tune",)}


@pytest.mark.parametrize("name", VERBS)
def test_every_option_can_be_mentioned(name):
    for dest, action in options_of(VERBS[name]).items():
        assert VERBS[name].option(Argument(dest)) in [*action.option_strings, action.metavar, dest]


@pytest.mark.parametrize("name", pyserini_tasb._HOME_OF)
def test_every_public_name_exists_and_says_what_it_is(name):
    found = getattr(pyserini_tasb, name)
    # What is not the module's own is somewhere else, and would be imported twice as slowly.
    assert found is getattr(importlib.import_module(f"pyserini_tasb.{pyserini_tasb._HOME_OF[name]}"), name)
    said = inspect.getdoc(found)
    assert said
    assert not re.match("(Of|As|For|What) ", said)
    assert name in pyserini_tasb.__all__


def test_the_public_names_are_known_to_type_checkers():
    source = (ROOT / "pyserini_tasb" / "__init__.py").read_text()
    typed = source.partition("if TYPE_CHECKING:")[2].partition("\n\n\n")[0]
    imported = set(re.findall(r"\w+", " ".join(re.findall(r" import (.+)", typed.replace("(\n", "")))))
    assert set(pyserini_tasb._HOME_OF) <= imported
    assert set(pyserini_tasb.__all__) == {*pyserini_tasb._HOME_OF, "__version__"}


def test_every_function_is_public():
    own = {name.replace("-", "_") for name, verb in VERBS.items() if not verb.at}
    assert own <= set(pyserini_tasb._HOME_OF)


IMPORT = """
import sys
sys.path.insert(0, {root!r})
before = set(sys.modules)
import pyserini_tasb
print(*(set(sys.modules) - before))
"""


def test_importing_the_package_imports_nothing_else():
    # Without site, so that no start-up hook has done it before.
    command = [sys.executable, "-I", "-S", "-X", "importtime", "-c", IMPORT.format(root=str(ROOT))]
    reports = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(5)]
    assert reports[0].stdout.split() == ["pyserini_tasb"]
    costs = [int(re.search(r"\| +(\d+) \| pyserini_tasb\n", report.stderr)[1]) for report in reports]
    assert min(costs) < 5_000  # µs; on a busy machine some take longer


def test_how_to_go_on_after_an_interruption_has_all_that_was_given(capsys):
    from pyserini_tasb.training.distributed import Processes
    from pyserini_tasb.training.loop import TrainingInterruptedError

    typed = ["teach", "--kind", "cat", "my teach.yaml", "--set", "seed=3", "--trust", "json", "--trust", "re"]
    parsed = parse(*typed)
    parsed.called.interrupted(TrainingInterruptedError(2, 7, Path("run"), Processes()), parsed)
    (go_on,) = re.findall(r"continue with\n  (.+)", capsys.readouterr().out)
    again = parse(*shlex.split(go_on)[1:])
    assert vars(again) == vars(parsed)
