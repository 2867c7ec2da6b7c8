"""The commands that a regression of somebody else may run: a stage is any `python -m`, and YAML files are shared.

docs/regressions.md says what is allowed, why, and what such a file can still do.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.recipes import own_folder
from pyserini_tasb.recipes.loading import line_finder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pyserini_tasb.recipes import Regression
    from pyserini_tasb.regress.condition import Condition
    from pyserini_tasb.regress.options import RunOptions

# `pyserini.search` itself, `pyserini.2cr` and `pyserini.eval` hand what they get to a shell or to `eval`.
MODULES = re.compile(r"pyserini\.(encode|fusion|index|search\.[a-z]+)(\.[a-z_]+)*", re.ASCII)
# Some of the other verbs run commands that a file names, or write where it says.
VERBS = ("demo", "encode", "evaluate", "expand", "fuse", "hybrid", "index", "rerank", "search")
URL_OR_FILE_OF_ARGUMENTS = re.compile(r"^@|://")
# Absolute, in a home or above the folder; also after `--option=`. URLs and files of arguments match as well.
OUTSIDE = re.compile(r"^@|(^|^-\w|[=,:;\s])[/~\\]|(^|[/=,:;\s\\])\.\.([/\\]|$)")
# A path after these is only read, so it may lie anywhere. No abbreviations: they may stand for another option.
READ = {"--baseline", "--collection", "--corpus", "--dense-index", "--encoder", "--index", "--input"}
READ |= {"--latency-queries", "--model", "--predictions", "--qrels", "--queries", "--query-encoder"}
READ |= {"--recipe", "--run", "--runs", "--sparse-index", "--topics", "--vectors"}
# Pyserini runs code that comes with models of these classes, which it takes from a model's name, too.
RUN_THEIR_MODELS_CODE = re.compile(r"qwen3|dse|mmeb", re.IGNORECASE)
READ_PICKLES = "--encoded"  # …-queries, …-corpus
ALLOWED = f"pyserini.encode, .fusion, .index.…, .search.…, or pyserini_tasb with one of {', '.join(VERBS)}"


def refusals(regression: Regression, file: Path | None) -> list[list[str]]:
    """The parts of each stage's command that need `--allow-commands`, with file and line; none in our own files.

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
    stages = (stage for condition in conditions for stage in options.stages_of(condition))
    found = dict.fromkeys(fault for stage in stages for fault in stage.refused)
    if found:
        raise TasbError(
            expected=f"in files that are not this package's own, commands of {ALLOWED}, and paths outside of the "
            "folder of outputs only to read from",
            found="\n    ".join(["", *found]),
            do="read these commands (--dry-run); if you trust who wrote them, add --allow-commands",
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
    for place, argument in enumerate(arguments, 1):
        option = argument.partition("=")[0] if argument.startswith("-") else option
        if OUTSIDE.search(argument) and (option not in reads or URL_OR_FILE_OF_ARGUMENTS.search(argument)):
            yield place, f"`{argument}` is outside of the folder of outputs"
        if not ours and RUN_THEIR_MODELS_CODE.search(argument):
            yield place, f"`{argument}` names an encoder whose model's own code Pyserini runs"
        if not ours and argument.startswith(READ_PICKLES):
            yield place, f"`{argument}` reads a pickle, which can run code"
