"""Pyserini's own two-click reproductions (2CR): its conditions read as ours, and ours written in its schema.

Its files are read without importing Pyserini, which would start a JVM; only its table of indexes has to be asked for.
"""

from __future__ import annotations

import ast
import functools
import getopt
import importlib.util
import itertools
import json
import logging
import os
import re
import shlex
import string
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pyserini_tasb.commands import run_short_command
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.outputs import new_file
from pyserini_tasb.parsing import read_yaml
from pyserini_tasb.recipes.lookup import ENCODER_PREFIX, encoder_card, encoder_cards, prebuilt, recipe_files
from pyserini_tasb.recipes.types import (
    ExpectedValues,
    MeasureArguments,
    Prebuilt,
    Regression,
    Resources,
    Source,
    Stage,
    TopicSet,
)
from pyserini_tasb.regression.condition import REMOVE_QUERY, Condition, resolve
from pyserini_tasb.regression.stages import command_environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


LOG = logging.getLogger(__name__)

# How the names of regressions begin that are Pyserini's conditions: then come collection, condition and topics.
IMPORTED = "2cr."
# What `${…}` in a command stands for (pyserini/2cr/msmarco.py).
VARIABLES = {"dense_threads": "16", "dense_batch_size": "512", "sparse_threads": "16", "sparse_batch_size": "128"}
TOPICS_OPTION = "--topics"
TOLERANCE = 0.0005
REASON = "the tolerance of 2CR itself, here on both sides"
IN_MEMORY = 1.2  # a Faiss index as an archive, and as Faiss and a search hold it
UNPACKING = 2.2  # the archive, and what is in it, which is hardly larger


def pyserini_conditions(name: str) -> list[Condition]:
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
            expected=f"{argument('two_cr', f'{collection}:CONDITION')}, with one of "
            f"{', '.join(condition.name for condition in known)}",
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
            MeasureArguments(measure=measure_named(given), trec_eval=given, label=label)
            for label, given in arguments.items()
        ),
    )


def _archives(names_of_each: Sequence[Sequence[str]]) -> list[tuple[Prebuilt, ...]]:
    """The downloads of each condition; Pyserini is asked, once, only for those that no file of ours has."""
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


def export_conditions(conditions: Sequence[Condition], path: Path, *, overwrite: bool = False) -> str:
    """Write the conditions that 2CR can hold, and warn of those that it cannot: several commands, or no values.

    Returns:
        How many were written, in a line.

    Raises:
        TasbError: none can be written, or the file cannot.
    """
    with new_file(path, overwrite=overwrite, name="export_2cr") as file:
        blocks = _blocks(conditions)
        file.write(yaml.safe_dump({"conditions": [*blocks.values()]}, sort_keys=False, width=1_000_000))
    topics = sum(len(block["topics"]) for block in blocks.values())
    return f"{path}: {len(blocks)} conditions on {topics} sets of topics"


def _blocks(conditions: Sequence[Condition]) -> dict[str, dict[str, Any]]:
    blocks: dict[str, dict[str, Any]] = {}
    for condition in conditions:
        reason = _why_not(condition)
        if reason:
            LOG.warning("left out %s: %s", condition.name, reason)
            continue
        block = _block(condition)
        same = blocks.get(block["name"])
        if same and same["command"] == block["command"]:
            same["topics"] += block["topics"]
        else:  # the name of another command is taken: with its topics in front, it is not
            block["name"] = condition.name if same else block["name"]
            blocks[block["name"]] = block
    if not blocks:
        raise TasbError(
            expected="conditions of one command with published values, which 2CR can express",
            found="none among the named ones",
            do="name others; see `tasb regress --list`",
        )
    return blocks


def _why_not(condition: Condition) -> str | None:
    if len(condition.stages) != 1:
        return f"{len(condition.stages)} commands"
    if TOPICS_OPTION not in condition.stages[0].step.arguments:
        return "a command without --topics"
    if condition.regression.remove_query and REMOVE_QUERY not in condition.stages[0].step.arguments:
        return f"a command without {REMOVE_QUERY}, which 2CR's evaluation cannot do"
    return "nothing published to compare with" if condition.regression.expected == "measure" else None


def _block(condition: Condition) -> dict[str, Any]:
    module, *rest = condition.stages[0].step.arguments[1:]
    topics = rest[rest.index(TOPICS_OPTION) + 1]
    about = condition.regression
    assert about.expected != "measure"  # noqa: S101 - for mypy: `_why_not` has seen to it
    labels = {known.measure: known.label for known in condition.topics.measures}
    values: dict[str, float] = {}
    for block in about.expected:
        for measure, value in block.values.items():
            values.setdefault(labels[measure], value)
    return {
        "name": _name(condition.name, topics),
        "display": about.description,
        "display-html": about.description,
        "display-row": "",
        "command": _their_command(module, rest, topics, about.run),
        "topics": [{"topic_key": topics, "eval_key": condition.topics.qrels, "scores": [values]}],
    }


def _name(name: str, topics: str) -> str:
    """Ours without the topics: `dl19-passage.tasb` and `dl20-passage.tasb` are one condition of 2CR's."""
    if name.startswith(IMPORTED):  # followed by the collection
        return name.removeprefix(IMPORTED).partition(".")[2].removesuffix(f".{topics}")
    return name.partition(".")[2] or name


def _their_command(module: str, arguments: Sequence[str], topics: str, run: str) -> str:
    dense = module != "pyserini.search.lucene" or "--dense" in arguments
    side = "dense" if dense else "sparse"
    variables = {"--threads": f"{side}_threads", "--batch-size": f"{side}_batch_size"}
    words, option = [], ""
    for given in arguments:
        if given == run:
            word = "$output"
        elif given == topics or given.startswith(f"{topics}."):  # encoded queries are named by their topics
            word = "$topics" + given.removeprefix(topics)
        elif option in variables and VARIABLES[variables[option]] == given:
            word = f"${{{variables[option]}}}"
        elif option == "--encoder":
            word = shlex.quote(_stock_encoder(given))
        else:
            word = shlex.quote(given)
        words.append(word)
        option = given
    return " ".join(("python -m", module, *words))


def _stock_encoder(encoder: str) -> str:
    """The name that stock Pyserini takes: the model behind a card of ours."""
    known = encoder.startswith(ENCODER_PREFIX) or encoder in encoder_cards()
    return encoder_card(encoder).model if known else encoder


class TopicScores(BaseModel):
    """Scores on one set of topics: a list with one mapping, label → value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    topic_key: str
    eval_key: str
    scores: tuple[dict[str, float], ...] = Field(min_length=1)


class TwoCrCondition(BaseModel):
    """A command with `$topics` and `$output`, and its scores. How a page shows it is nothing to us."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    display: str
    command: str
    topics: tuple[TopicScores, ...]


class TwoCrFile(BaseModel):
    """All conditions of a collection."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    conditions: tuple[TwoCrCondition, ...]


DEFINITIONS = "trec_eval_metric_definitions"
# The only way to Pyserini's table of indexes is to import it; 1.6 and 2.x name the size differently.
_ASK = """
import json, sys
from pyserini import prebuilt_index_info as tables
found = {}
for table, kind in (("TF", "lucene"), ("IMPACT", "lucene"), ("LUCENE_HNSW", "lucene"), ("LUCENE_FLAT", "lucene"),
                    ("FAISS", "faiss")):
    entries = getattr(tables, table + "_INDEX_INFO", {})
    for name in sys.argv[1:]:
        if name in entries and name not in found:
            entry = entries[name]
            found[name] = {
                "name": name, "kind": kind, "md5": entry["md5"], "records": entry.get("documents"),
                "archive": entry.get("filename") or entry["urls"][0].rsplit("/", 1)[-1],
                "bytes": entry.get("size compressed (bytes)") or entry.get("size"),
            }
print(json.dumps(found))
"""


@functools.cache
def two_cr_file(collection: str) -> TwoCrFile:
    """Pyserini's conditions for a collection, e.g. `msmarco-v1-passage`.

    Raises:
        TasbError: Pyserini has none, or in another schema than for MS MARCO.
    """
    folder = _folder()
    path = folder / f"{collection}.yaml"
    if path.parent != folder or not path.is_file():
        known = sorted(file.stem for file in folder.glob("msmarco-*.yaml"))
        raise TasbError(
            where=str(path),
            expected=f"a 2CR file of the installed Pyserini: {', '.join(known)}",
            found="no such file",
            do="name one of them before the colon",
        )
    content, _ = read_yaml(path)
    try:
        return TwoCrFile.model_validate(content)
    except ValidationError as error:
        fault = error.errors()[0]
        raise TasbError(
            where=str(path),
            expected="conditions with `topics`, each with topic_key, eval_key and scores, as for MS MARCO",
            found=f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].lower()}",
            do="run this one with Pyserini itself",
        ) from error


def measure_arguments(collection: str) -> dict[str, dict[str, str]]:
    """The measures of a collection's qrels: label → arguments of trec_eval.

    Raises:
        TasbError: this Pyserini keeps them elsewhere.
    """
    path = _folder() / "msmarco.py"
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        names = [target.id for target in getattr(node, "targets", []) if isinstance(target, ast.Name)]
        if isinstance(node, ast.Assign) and names == [DEFINITIONS]:
            found: dict[str, dict[str, dict[str, str]]] = ast.literal_eval(node.value)
            if collection in found:
                return found[collection]
    raise TasbError(
        where=str(path),
        expected=f"{DEFINITIONS} with {collection}",
        found="none",
        do="use a Pyserini whose 2CR is like that of 1.6 to 2.3",
    )


def index_archives(names: list[str]) -> list[Prebuilt]:
    """The archives that Pyserini would download for these indexes; paths and other names are left out.

    Raises:
        TasbError: Pyserini does not start.
    """
    environment = {**os.environ, **command_environment()}
    answer = run_short_command([sys.executable, "-c", _ASK, *names], environment=environment)
    if answer.returncode:
        raise TasbError(
            expected="a Pyserini that lists its indexes",
            found=(answer.stderr.strip().splitlines() or ["nothing"])[-1],
            do="see `tasb doctor`",
        )
    entries: dict[str, Any] = json.loads(answer.stdout.strip().splitlines()[-1])
    return [Prebuilt.model_validate(entry) for entry in entries.values()]


def _folder() -> Path:
    spec = importlib.util.find_spec("pyserini")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(place) / "2cr").is_dir():
            return Path(place) / "2cr"
    raise TasbError(expected="Pyserini with its 2CR files", found="none", do="pip install pyserini")


_NAMES = {
    "map": "AP",
    "ndcg": "nDCG",
    "recall": "R",
    "recip_rank": "RR",
    "P": "P",
    "success": "Success",
    "num_ret": "NumRet",
}
_GRADED = ("ndcg",)


def measure_named(trec_eval: str) -> str:
    """The measure that trec_eval prints, e.g. `AP(rel=2)@100` for `-c -l 2 -M 100 -m map`.

    Raises:
        TasbError: arguments that mean something else here, or nothing.
    """
    try:
        pairs, rest = getopt.getopt(trec_eval.split(), "cl:M:m:")
        found = dict(pairs)
        name, _, cutoff = found["-m"].replace("_cut", "").partition(".")
        measure = _NAMES[name]
        least, deepest = (int(found.get(option, 0)) for option in ("-l", "-M"))
    except (getopt.GetoptError, ValueError, KeyError) as error:
        raise _unknown(trec_eval, str(error)) from error
    if rest:
        raise _unknown(trec_eval, f"unrecognized arguments: {' '.join(rest)}")
    if "-c" not in found:
        raise _unknown(trec_eval, "no -c: queries that a run lacks would not count")
    grade = f"(rel={least})" if least and name not in _GRADED else ""
    depth = cutoff or deepest
    return f"{measure}{grade}" + (f"@{depth}" if depth else "")


def _unknown(trec_eval: str, found: str) -> TasbError:
    return TasbError(
        expected=f"trec_eval arguments: -c, [-l GRADE], [-M DEPTH], -m one of {', '.join(_NAMES)}, with .CUTOFF",
        found=f"`{trec_eval}`: {found}",
        do="run this condition with Pyserini itself",
    )
