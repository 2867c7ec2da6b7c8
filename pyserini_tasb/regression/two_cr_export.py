"""Our conditions in the schema of Pyserini's 2CR, so that they can go there."""

from __future__ import annotations

import logging
import shlex
from typing import TYPE_CHECKING, Any

import yaml

from pyserini_tasb.artifacts import write_whole
from pyserini_tasb.errors import TasbError
from pyserini_tasb.recipes.lookup import ENCODER_PREFIX, encoder_card, encoder_cards
from pyserini_tasb.regression.condition import REMOVE_QUERY
from pyserini_tasb.regression.two_cr import IMPORTED, VARIABLES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pyserini_tasb.regression.condition import Condition


LOG = logging.getLogger(__name__)

TOPICS_OPTION = "--topics"


def export(conditions: Sequence[Condition], path: Path) -> str:
    """Write the conditions that 2CR can hold, and warn of those that it cannot: several commands, or no values.

    Returns:
        How many were written, in a line.

    Raises:
        TasbError: none can be written, or the file cannot.
    """
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
            expected="conditions of one command with published values, which is what 2CR holds",
            found="none among those named",
            do="name others; see `tasb regress --list`",
        )
    content = yaml.safe_dump({"conditions": [*blocks.values()]}, sort_keys=False, width=1_000_000)
    write_whole(path, content)
    topics = sum(len(block["topics"]) for block in blocks.values())
    return f"{path}: {len(blocks)} conditions on {topics} sets of topics"


def _why_not(condition: Condition) -> str | None:
    if len(condition.stages) != 1:
        return f"{len(condition.stages)} commands"
    if TOPICS_OPTION not in condition.stages[0].step.arguments:
        return "a command without --topics"
    if condition.regression.remove_query and REMOVE_QUERY not in condition.stages[0].step.arguments:
        return f"a command without {REMOVE_QUERY}, which 2CR's evaluation cannot make up for"
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
        "command": _command(module, rest, topics, about.run),
        "topics": [{"topic_key": topics, "eval_key": condition.topics.qrels, "scores": [values]}],
    }


def _name(name: str, topics: str) -> str:
    """Ours without the topics: `dl19-passage.tasb` and `dl20-passage.tasb` are one condition of 2CR's."""
    if name.startswith(IMPORTED):  # followed by the collection
        return name.removeprefix(IMPORTED).partition(".")[2].removesuffix(f".{topics}")
    return name.partition(".")[2] or name


def _command(module: str, arguments: Sequence[str], topics: str, run: str) -> str:
    dense = module != "pyserini.search.lucene" or "--dense" in arguments
    side = "dense" if dense else "sparse"
    variables = {"--threads": f"{side}_threads", "--batch-size": f"{side}_batch_size"}
    words, option = [], ""
    for argument in arguments:
        if argument == run:
            word = "$output"
        elif argument == topics or argument.startswith(f"{topics}."):  # encoded queries are named by their topics
            word = "$topics" + argument.removeprefix(topics)
        elif option in variables and VARIABLES[variables[option]] == argument:
            word = f"${{{variables[option]}}}"
        elif option == "--encoder":
            word = shlex.quote(_stock_encoder(argument))
        else:
            word = shlex.quote(argument)
        words.append(word)
        option = argument
    return " ".join(("python -m", module, *words))


def _stock_encoder(encoder: str) -> str:
    """What stock Pyserini takes: the model behind a card of ours."""
    known = encoder.startswith(ENCODER_PREFIX) or encoder in encoder_cards()
    return encoder_card(encoder).model if known else encoder
