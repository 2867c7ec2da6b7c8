"""A regression with everything that it names: its commands, topics and needs, and the commands that it may run."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.evaluation.measures import parse_measures
from pyserini_tasb.folders import at_home
from pyserini_tasb.parsing import read_yaml, scalars
from pyserini_tasb.recipes.loading import line_finder
from pyserini_tasb.recipes.lookup import encoder_card, own_folder, prebuilt, regression, regression_file, topic_set
from pyserini_tasb.registry import trusted_packages, untrusted_package
from pyserini_tasb.regression.steps import Step

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from pyserini_tasb.recipes.types import NeededModel, Prebuilt, Regression, Stage, StageKind, TopicSet


Item = TypeVar("Item")

EVALUATE = "evaluate"
REMOVE_QUERY = "--remove-query"
# The commands that know it: Pyserini's modules, and verbs of our own.
THEIR_MODULES = ("pyserini.search.faiss", "pyserini.search.lucene")
OUR_VERBS = ("search", "hybrid", "fuse", "rerank", "tune")


@dataclass(frozen=True)
class ConditionStage:
    """One command of a condition.

    Args:
        kind: index, search, fuse or rerank.
        step: the command, its name and what it makes; what it reads is known only when it runs.
        refused: the parts of the command that need `--allow-commands`.
    """

    kind: StageKind
    step: Step
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Condition:
    """A condition, which `tasb regress NAME` runs and judges.

    Args:
        regression: the content of its file.
        topics: its topics, qrels and measures.
        stages: the stages, in order; those of the regressions whose runs it needs come first.
        prebuilt: what Pyserini downloads, of all of these stages.
        models: the weights that all of these stages need.
        checkpoints: the models that made the run, by hub id or path.
        runs: files or bundled names of the runs that it needs.
        command: the command that runs it.
    """

    regression: Regression
    topics: TopicSet
    stages: tuple[ConditionStage, ...]
    prebuilt: tuple[Prebuilt, ...]
    models: tuple[NeededModel, ...]
    checkpoints: tuple[str, ...]
    runs: tuple[str, ...]
    command: str

    @property
    def name(self) -> str:
        """The regression's."""
        return self.regression.name

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures, by ir-measures' names, each once."""
        if self.regression.expected == "measure":
            return tuple(known.measure for known in self.topics.measures)
        expected = (name for block in self.regression.expected for name in block.values)
        cited = (name for block in self.regression.cited for name in block.values)
        return tuple(dict.fromkeys((*expected, *cited)))

    @property
    def evaluation(self) -> tuple[str, ...]:
        """The command that prints the measures."""
        where = ("--qrels", self.topics.qrels, "--runs", self.regression.run)
        without = (REMOVE_QUERY,) if self.regression.remove_query else ()
        return ("tasb", "evaluate", *where, "--measures", *self.measures, *without)

    @property
    def recorded_as(self) -> str:
        """The name of its record: values with and without the queries' own documents are not compared."""
        return f"{self.name}.remove-query" if self.regression.remove_query else self.name


@dataclass(frozen=True)
class RunOptions:
    """The choices of a call of `regress`.

    Args:
        kind: the kind of the stages to run, or `evaluate`; None for all of them.
        download: let Pyserini and the hub download what is missing.
        allow_commands: run also the commands that `refusals` names.
    """

    kind: str | None = None
    download: bool = False
    allow_commands: bool = False

    @property
    def evaluates(self) -> bool:
        """True if there will be numbers."""
        return self.kind in (None, EVALUATE)

    def chosen_stages(self, condition: Condition) -> tuple[ConditionStage, ...]:
        """The stages that run."""
        return tuple(stage for stage in condition.stages if self.kind in (None, stage.kind))


def load_condition(name: str) -> Condition:
    """The regression of that name, or at that path (`….yaml`), and all that it names.

    Raises:
        TasbError: no such regression, topic set or archive, a faulty file, or regressions that need each other's runs.
    """
    return resolve(regression(name), file=regression_file(name), named=(name,))


def resolve(
    about: Regression,
    topics: TopicSet | None = None,
    archives: Sequence[Prebuilt] | None = None,
    *,
    file: Path | None = None,
    named: tuple[str, ...],
    above: tuple[str, ...] = (),
) -> Condition:
    """A condition of a regression that may be in no file.

    Args:
        about: the regression.
        topics: its topic set, if that is in no file.
        archives: what Pyserini downloads for it, if that is in no files.
        file: the regression's; None for one that the installed Pyserini brings.
        named: the arguments of `tasb regress` that mean it.
        above: names of the regressions that need this one's run.

    Raises:
        TasbError: as `load_condition`.
    """
    if about.name in above:
        raise TasbError(
            where=f"regression {about.name}",
            expected="`runs_of` with regressions that have their own runs",
            found=" needs the run of ".join((*above[above.index(about.name) :], about.name)),
            do="take one of them out of `runs_of`",
        )
    own = tuple(
        ConditionStage(
            stage.stage,
            Step(
                name=stage.name or f"{about.name}.{stage.stage}",
                summary=f"{about.name}: {stage.stage}",
                arguments=("-m", *_command(stage, remove_query=about.remove_query)),
                outputs=stage.outputs,
            ),
            tuple(refused),
        )
        for stage, refused in zip(about.stages, refusals(about, file), strict=True)
    )
    needed = [
        resolve(regression(name), file=regression_file(name), named=(name,), above=(*above, about.name))
        for name in about.runs_of
    ]
    own_archives = tuple(archives) if archives is not None else tuple(map(prebuilt, about.prebuilt))
    topics = topics or topic_set(about.topics)
    parts = (*(part.stages for part in needed), own)
    condition = Condition(
        regression=about,
        topics=topics,
        stages=each_stage_once(stage for part in parts for stage in part),
        prebuilt=_each_once(own_archives, *(part.prebuilt for part in needed)),
        models=_each_once(about.models, *(part.models for part in needed)),
        checkpoints=_each_once(
            about.checkpoints or tuple(_checkpoint(model.encoder) for model in about.models),
            *(part.checkpoints for part in needed),
        ),
        runs=tuple(part.regression.run for part in needed),
        command=shlex.join(("tasb", "regress", *named)),
    )
    _require_known_measures(condition)
    _require_its_own_numbers(condition)
    return condition


def each_stage_once(stages: Iterable[ConditionStage]) -> tuple[ConditionStage, ...]:
    """The stages of several conditions, those of one name once.

    Raises:
        TasbError: one name for two commands, of which only one would run.
    """
    by_name: dict[str, ConditionStage] = {}
    for stage in stages:
        known = by_name.setdefault(stage.step.name, stage)
        if known.step.arguments != stage.step.arguments:
            raise TasbError(
                where=f"stage {stage.step.name}",
                expected=f"one command of this name: {known.step.command}",
                found=f"also {stage.step.command}",
                do="give one of them another `name` and other `outputs`",
            )
    return tuple(by_name.values())


def _command(stage: Stage, *, remove_query: bool) -> tuple[str, ...]:
    module, *arguments = stage.command
    knows = module in THEIR_MODULES or (module == "pyserini_tasb" and arguments[:1] and arguments[0] in OUR_VERBS)
    command = (
        (*stage.command, REMOVE_QUERY) if remove_query and knows and REMOVE_QUERY not in arguments else stage.command
    )
    trusted = sorted(trusted_packages()) if module == "pyserini_tasb" else []
    return (*command, *(word for package in trusted for word in ("--trust", package)))


def _package_in_recipe(word: str) -> str | None:
    """The package whose code a YAML file names, a recipe or a card that a command would read, if it is not trusted."""
    path = at_home(word.rpartition("=")[2].removeprefix("tasb:"))
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        return None
    try:
        _, node = read_yaml(path)
    except TasbError:  # the command says what is wrong with it
        return None
    found = map(untrusted_package, scalars(node))
    return next((package for package in found if package not in (None, "pkg")), None)


def _each_once(*groups: tuple[Item, ...]) -> tuple[Item, ...]:
    return tuple(dict.fromkeys(item for group in groups for item in group))


def _checkpoint(encoder: str) -> str:
    try:
        return encoder_card(encoder).model
    except TasbError:  # running it says what is wrong
        return encoder


def _require_its_own_numbers(condition: Condition) -> None:
    """Refuse another checkpoint's number under `expected`; a source that names no checkpoint is believed."""
    expected = condition.regression.expected
    for block in expected if expected != "measure" else ():
        named = block.source.checkpoints
        if named and {*named} != {*condition.checkpoints}:
            raise TasbError(
                where=f"regression {condition.name}, {block.source.reference}",
                expected=f"numbers of {', '.join(condition.checkpoints) or 'no model'}, the models that made the run",
                found=f"numbers of {', '.join(named)}",
                do="put them under `cited`, with a note",
            )


def _require_known_measures(condition: Condition) -> None:
    parse_measures(condition.measures)
    known = [measure.measure for measure in condition.topics.measures]
    unknown = [measure for measure in condition.measures if measure not in known]
    if unknown:
        raise TasbError(
            where=f"regression {condition.name}",
            expected=f"measures of the topic set {condition.topics.name}: {', '.join(known)}",
            found=", ".join(unknown),
            do="spell them as in that file, or add them to it with their trec_eval arguments",
        )


# `pyserini.search` itself, `pyserini.2cr` and `pyserini.eval` hand what they get to a shell or to `eval`.
MODULES = re.compile(r"pyserini\.(encode|fusion|index|search\.[a-z]+)(\.[a-z_]+)*", re.ASCII)
# Some of the other verbs run commands that a file names, or write where it says.
VERBS = ("demo", "encode", "evaluate", "expand", "fuse", "hybrid", "index", "rerank", "search")
URL_OR_FILE_OF_ARGUMENTS = re.compile(r"^@|://")
# Absolute, in a home or above the folder; also after `--option=`. URLs and files of arguments match as well.
OUTSIDE = re.compile(r"^@|(^|^-\w|[=,:;\s])[/~\\]|(^|[/=,:;\s\\])\.\.([/\\]|$)")
# A path after these is only read, so it may lie anywhere. No abbreviations: they may stand for another option.
READ = {"--baseline", "--corpus", "--dense-index", "--encoder", "--index", "--input"}
READ |= {"--latency-queries", "--model", "--predictions", "--qrels", "--topics", "--query-encoder"}
READ |= {"--recipe", "--run", "--runs", "--sparse-index", "--topics", "--vectors"}
# Pyserini runs code that comes with models of these classes, which it takes from a model's name, too.
RUN_THEIR_MODELS_CODE = re.compile(r"qwen3|dse|mmeb", re.IGNORECASE)
READ_PICKLES = "--encoded"  # …-queries, …-corpus
ALLOWED = f"pyserini.encode, .fusion, .index.…, .search.…, or pyserini_tasb with one of {', '.join(VERBS)}"


def refusals(regression: Regression, file: Path | None) -> list[list[str]]:
    """The parts of each stage's command that need `--allow-commands`, with file and line; none in our own files.

    A stage can be any `python -m`, and people share YAML files. docs/regressions.md says what is allowed, why, and what
    such a file can still do.

    Args:
        regression: whose stages.
        file: the regression's; None for one that the installed Pyserini brings.
    """
    if file is None or file.resolve().is_relative_to(own_folder("regressions").resolve()):
        return [[] for _ in regression.stages]
    line = line_finder(file)
    return [
        [f"{file}:{line('stages', number, 'command', place)}: {fault}" for place, fault in _faults(stage.command)]
        for number, stage in enumerate(regression.stages)
    ]


def require_allowed(conditions: Sequence[Condition], options: RunOptions) -> None:
    """Check that every command that would run is allowed.

    Raises:
        TasbError: naming every command that is not.
    """
    if options.allow_commands:
        return
    stages = (stage for condition in conditions for stage in options.chosen_stages(condition))
    found = dict.fromkeys(fault for stage in stages for fault in stage.refused)
    if found:
        raise TasbError(
            expected=f"in a file that does not come with this package, only commands of {ALLOWED}, and paths outside "
            "of the folder of outputs only to read from",
            found="\n    ".join(["", *found]),
            do=f"read these commands ({argument('dry_run', True)}); if you trust their authors, add "
            f"{argument('allow_commands', True)}",
        )


def _faults(command: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Places in a command, and what is wrong there."""
    module, *arguments = command
    ours = module == "pyserini_tasb"
    if ours and (not arguments or arguments[0] not in VERBS):
        yield 0, f"`{' '.join(command[:2])}` is none of these verbs"
    elif not ours and not MODULES.fullmatch(module):
        yield 0, f"`{module}` is none of these modules"
    reads = READ - {"--index"} if module.startswith("pyserini.index") else READ  # which writes it
    option = ""
    for place, word in enumerate(arguments, 1):
        option = word.partition("=")[0] if word.startswith("-") else option
        if OUTSIDE.search(word) and (option not in reads or URL_OR_FILE_OF_ARGUMENTS.search(word)):
            yield place, f"`{word}` is outside of the folder of outputs"
        if ours and (package := untrusted_package(word) or _package_in_recipe(word)):
            yield place, f"`{word}` names code of {package}, a package that you do not trust yet"
        if not ours and RUN_THEIR_MODELS_CODE.search(word):
            yield place, f"`{word}` names an encoder whose model's own code Pyserini runs"
        if not ours and word.startswith(READ_PICKLES):
            yield place, f"`{word}` reads a pickle, which can run code"
