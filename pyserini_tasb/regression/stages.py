"""Stages run, each at most once however many conditions need it; and what their results depend on."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import importlib.util
import logging
import os
import platform
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.artifacts import installed_versions, write_whole
from pyserini_tasb.environment.java import find_java, java_environment
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.named import bundled_files, run_file
from pyserini_tasb.models.checkpoints import find_checkpoint
from pyserini_tasb.recipes.lookup import encoder_card, recipe_files
from pyserini_tasb.regression.needs import unpacked
from pyserini_tasb.regression.steps import Pipeline, StepFailedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pyserini_tasb.regression.condition import Condition, ConditionStage
    from pyserini_tasb.regression.steps import Step

LOG = logging.getLogger(__name__)

HOME = "home"
SECONDS_FOR_A_SIGNAL = 1
# Anserini's names for the files of topics that this package bundles.
TOPICS = {
    "dl19-passage": "topics.dl19-passage.txt",
    "dl20-passage": "topics.dl20.txt",
    "msmarco-passage-dev-subset": "topics.msmarco-passage.dev-subset.txt",
}
# What numbers can depend on.
PACKAGES = (
    "pyserini",
    "transformers",
    "tokenizers",
    "torch",
    "faiss-cpu",
    "faiss-gpu",
    "onnxruntime",
    "numpy",
    "ir-measures",
    "pytrec-eval-terrier",
)


@dataclasses.dataclass(frozen=True)
class StageOutcome:
    """How a stage ended.

    Args:
        name: the name of the step.
        stage: index, search, fuse, rerank or evaluate.
        command: program and arguments, `python` being the interpreter that ran this.
        seconds: wall time of the run that made the outputs; None if it failed.
        reused: it had finished in an earlier run, of which nothing has changed since.
        log: what the command printed, relative to the folder of outputs; None of `evaluate`, which is no process.
        failure: the end of that, where it failed.
    """

    name: str
    stage: str
    command: tuple[str, ...]
    seconds: float | None
    reused: bool
    log: str | None
    failure: str | None = None


class StageRunner:
    """Runs stages in one folder, for conditions in several threads.

    Args:
        folder: the folder of the outputs: new, empty, or of an earlier run.
        versions: the versions on which outputs depend.
        overwrite: run again what an earlier run finished with the same command, inputs and versions, too.
        on_screen: show how far a command is.

    Raises:
        TasbError: the folder has other things in it, or cannot be made.
    """

    def __init__(self, folder: Path, versions: Mapping[str, str], *, overwrite: bool, on_screen: bool) -> None:
        self.folder = folder
        self.stop = threading.Event()
        self._overwrite, self._on_screen = overwrite, on_screen
        topics = topics_environment(folder / HOME)
        self._pipeline = Pipeline(folder, command_environment() | topics, versions)
        self._outcomes: dict[str, StageOutcome] = {}
        self._locks: dict[str, threading.Lock] = {}

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes out of the folder, as `Pipeline.alone` does: stages run in this block.

        Raises:
            TasbError: another process is at work in the folder.
        """
        with self._pipeline.alone():
            lay_out_topics(self.folder / HOME)
            yield

    def run(self, stage: ConditionStage, condition: Condition) -> StageOutcome:
        """Run it, unless it has run or failed here already or is to be reused.

        Raises:
            KeyboardInterrupt: the runner's `stop` is set.
        """
        name = stage.step.name
        with self._locks.setdefault(name, threading.Lock()):
            if self.stop.is_set():
                raise KeyboardInterrupt
            if name not in self._outcomes:
                self._outcomes[name] = self._run(stage, condition)
            return self._outcomes[name]

    def _run(self, stage: ConditionStage, condition: Condition) -> StageOutcome:
        step = dataclasses.replace(stage.step, inputs=stage_inputs(stage.step, condition, self.folder))
        outcome = StageOutcome(
            name=step.name,
            stage=stage.kind,
            command=("python", *step.arguments),
            seconds=None,
            reused=False,
            log=str(self._pipeline.log_path(step).relative_to(self.folder)),
        )
        took = None if self._overwrite else self._pipeline.finished(step)
        if took is not None:
            LOG.info("%s: %s: done before, in %.1f s", condition.name, stage.kind, took)
            return dataclasses.replace(outcome, seconds=took, reused=True)
        LOG.info("%s: %s", condition.name, step.command)
        try:
            took = self._pipeline.execute(step, on_screen=self._on_screen, stop=self.stop)
        except StepFailedError as error:
            # A service manager ends all processes at once: the command may end before the first thread has seen it.
            if self.stop.wait(SECONDS_FOR_A_SIGNAL):
                raise KeyboardInterrupt from error
            return dataclasses.replace(outcome, failure=str(error))
        LOG.info("%s: %s done in %.1f s", condition.name, stage.kind, took)
        return dataclasses.replace(outcome, seconds=took)


def lay_out_topics(home: Path) -> None:
    """Write the bundled topics to where Anserini looks for them before it downloads them.

    Pyserini has no topics of its own, and its addresses for them have moved. `home` instead of the user's own folder:
    nothing there is to be changed.
    """
    folder = _java_cache(home) / "topics-and-qrels"
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in bundled_files("topics").items():
        if name in TOPICS:
            write_whole(folder / TOPICS[name], gzip.decompress(path.read_bytes()))


def topics_environment(home: Path) -> dict[str, str]:
    """Variables that make Java look for its cache in `home`: Anserini 1 knows the first property, 2 the second."""
    properties = {"user.home": home.absolute(), "pyserini.cache": _java_cache(home.absolute())}
    options = [os.environ.get("JAVA_TOOL_OPTIONS", ""), *(f"'-D{name}={value}'" for name, value in properties.items())]
    return {"JAVA_TOOL_OPTIONS": " ".join(filter(None, options))}


def _java_cache(home: Path) -> Path:
    return home / ".cache" / "pyserini"


def stage_inputs(step: Step, condition: Condition, folder: Path) -> tuple[str, ...]:
    """Paths, relative to `folder` or absolute, on whose content it depends what the step makes.

    Paths that the command names, its outputs apart; bundled runs, pre-built archives, encoders' weights and fusion
    recipes that it names.
    """
    known: dict[str, Path] = {archive.name: unpacked(archive) for archive in condition.prebuilt}
    known |= {run: path for run in condition.runs if (path := _bundled_run(run))}
    known |= recipe_files("fusion")
    for model in condition.models:
        try:
            known[model.encoder] = find_checkpoint(encoder_card(model.encoder).model, allow_bin=True, download=False)
        except TasbError:  # its command will get it, or say why not
            continue
    found = []
    for argument in step.arguments[2:]:  # after `-m` and the module
        if argument in step.outputs:
            continue
        if argument in known:
            found.append(str(known[argument]))
        elif (folder / argument).exists():
            found.append(argument)
    return tuple(dict.fromkeys(found))


def _bundled_run(run: str) -> Path | None:
    try:
        return run_file(run)
    except TasbError:  # a file that an earlier stage makes
        return None


def versions() -> dict[str, str]:
    """Versions of the packages that numbers can depend on, of the Anserini jar that Pyserini brings, and of Java."""
    found = installed_versions(PACKAGES)
    jar = _anserini_version()
    if jar:
        found["anserini"] = jar
    java = find_java()
    if java:
        found["java"] = str(java.version)
    return found


def machine() -> dict[str, str]:
    """The kind of this machine."""
    return {"system": platform.platform(), "processor": _processor(), "cpus": str(os.cpu_count())}


def command_environment() -> dict[str, str]:
    """Variables for commands: a Java that Pyserini runs on, and one order of equal scores in its hybrid search."""
    java = find_java()
    return {**(java_environment(java) if java else {}), "PYTHONHASHSEED": "0"}


def moved(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, tuple[str | None, str | None]]:
    """Versions that differ, before and now; None where it was not installed."""
    names = sorted({*before, *now})
    return {name: (before.get(name), now.get(name)) for name in names if before.get(name) != now.get(name)}


def _anserini_version() -> str | None:
    spec = importlib.util.find_spec("pyserini")  # imported, it would start a JVM
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for jar in (Path(folder) / "resources" / "jars").glob("anserini-*-fatjar.jar"):
            return jar.name.removeprefix("anserini-").removesuffix("-fatjar.jar")
    return None


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return model[1] if model else platform.machine()
