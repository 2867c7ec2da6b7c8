"""Pyserini's conditions as ours."""

from __future__ import annotations

import itertools
import re
import shlex
import string
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.recipes import Prebuilt, Regression, TopicSet, prebuilt, recipe_files
from pyserini_tasb.recipes.regression_types import ExpectedValues, MeasureArguments, Resources, Source, Stage
from pyserini_tasb.regress.condition import REMOVE_QUERY, Condition, resolve
from pyserini_tasb.regress.two_cr.measure_names import measure_of
from pyserini_tasb.regress.two_cr.schema import IMPORTED, VARIABLES
from pyserini_tasb.regress.two_cr.source_files import index_archives, measure_arguments, two_cr_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyserini_tasb.regress.two_cr.schema import TopicScores, TwoCrCondition

TOLERANCE = 0.0005
REASON = "what 2CR itself lets pass; here to both sides"
IN_MEMORY = 1.2  # a Faiss index as an archive, and as Faiss and a search hold it
UNPACKING = 2.2  # the archive, and what is in it, which is hardly larger


def conditions_of(name: str) -> list[Condition]:
    """Conditions of Pyserini's own, one for each of their topics.

    Args:
        name: `COLLECTION:CONDITION`, e.g. `msmarco-v1-passage:distilbert-kd-tasb-pytorch`; CONDITION may be a pattern.

    Raises:
        TasbError: no such condition, or one that is not a single `python -m` command.
    """
    collection, _, wanted = name.partition(":")
    known = two_cr_file(collection).conditions
    conditions = [condition for condition in known if fnmatchcase(condition.name, wanted)]
    if not conditions:
        raise TasbError(
            expected=f"--2cr {collection}:CONDITION, with one of {', '.join(condition.name for condition in known)}",
            found=f"`{name}`",
            do="name a condition after the colon",
        )
    arguments = measure_arguments(collection)
    regressions = [
        (f"{collection}:{condition.name}", _regression(collection, condition, scores, topics), topics)
        for condition in conditions
        for scores in condition.topics
        for topics in [_topic_set(scores, arguments[scores.eval_key])]
    ]
    archives = _archives([indexes_in(about.stages[0].command) for _, about, _ in regressions])
    return [
        resolve(_with_resources(about, own), topics, own, named=("--2cr", its_name))
        for (its_name, about, topics), own in zip(regressions, archives, strict=True)
    ]


def indexes_in(command: Sequence[str]) -> list[str]:
    """The values of every `--index`."""
    return [value for option, value in itertools.pairwise(command) if option == "--index"]


def _regression(collection: str, condition: TwoCrCondition, scores: TopicScores, topics: TopicSet) -> Regression:
    name = re.sub(r"[^a-z0-9._+-]", "-", f"{IMPORTED}{collection}.{condition.name}.{scores.topic_key}".lower())
    run = f"runs/{name}.txt"
    values = {"topics": scores.topic_key, "output": run, **VARIABLES}
    python, option, *command = shlex.split(string.Template(condition.command).safe_substitute(values))
    if (python, option) != ("python", "-m"):
        raise TasbError(
            where=f"2CR condition {collection}:{condition.name}",
            expected="a command that begins with `python -m`",
            found=f"`{condition.command}`",
            do="run this one with Pyserini itself",
        )
    source = Source(kind="pyserini-2cr", reference=f"{collection}: {condition.name}")
    labelled = {label: value for block in scores.scores for label, value in block.items()}
    measures = {known.label: known.measure for known in topics.measures}
    return Regression(
        name=name,
        description=condition.display,
        topics=scores.eval_key,
        remove_query=REMOVE_QUERY in command,
        resources=Resources(disk_gb=0, memory_gb=0, java=True),
        stages=(Stage(stage="search", command=tuple(command), outputs=(run,)),),
        run=run,
        expected=(
            ExpectedValues(
                source=source,
                values={measures[label]: value for label, value in labelled.items()},
                tolerance=TOLERANCE,
                reason=REASON,
            ),
        ),
    )


def _topic_set(scores: TopicScores, arguments: Mapping[str, str]) -> TopicSet:
    return TopicSet(
        name=scores.eval_key,
        topics=scores.topic_key,
        qrels=scores.eval_key,
        measures=tuple(
            MeasureArguments(measure=measure_of(given), trec_eval=given, label=label)
            for label, given in arguments.items()
        ),
    )


def _archives(names_of_each: Sequence[Sequence[str]]) -> list[tuple[Prebuilt, ...]]:
    """For each condition, what Pyserini downloads; Pyserini is asked, once, only for what no file of ours has."""
    wanted = {name for names in names_of_each for name in names}
    ours = recipe_files("regressions/prebuilt")
    known = {name: prebuilt(name) for name in wanted if name in ours}
    unknown = sorted(wanted - known.keys())
    known |= {archive.name: archive for archive in (index_archives(unknown) if unknown else ())}
    return [tuple(known[name] for name in names if name in known) for names in names_of_each]


def _with_resources(about: Regression, archives: Sequence[Prebuilt]) -> Regression:
    read_whole = sum(archive.bytes for archive in archives if archive.kind == "faiss")
    resources = Resources(
        disk_gb=round(sum(archive.bytes for archive in archives) * UNPACKING / 1e9, 1),
        memory_gb=round(read_whole * IN_MEMORY / 1e9, 1),
        java=True,
    )
    return about.model_copy(update={"resources": resources})
