"""Which conditions a command line means."""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.recipes import recipe_files
from pyserini_tasb.regress.condition import each_stage_once, load_condition
from pyserini_tasb.regress.two_cr.reading import conditions_of

if TYPE_CHECKING:
    import argparse

    from pyserini_tasb.regress.condition import Condition


def selected(arguments: argparse.Namespace) -> list[Condition]:
    """The conditions named, matched, or all; those of Pyserini's 2CR after them. `--list` alone means all.

    Raises:
        TasbError: nothing named, a name twice, a pattern that nothing matches, one stage's name for two commands, or a
            name or file with a fault.
    """
    known = recipe_files("regressions")
    nothing_named = not (arguments.names or arguments.match or arguments.two_cr)
    every = arguments.all or (nothing_named and arguments.list)
    names = [*arguments.names, *(known if every else ())]
    for pattern in arguments.match:
        matched = [name for name in known if fnmatchcase(name, pattern)]
        if not matched:
            raise TasbError(
                expected="a pattern that some regression's name matches",
                found=f"--match {pattern}",
                do="see `tasb regress --list`",
            )
        names += matched
    conditions = [load_condition(name) for name in dict.fromkeys(names)]
    for name in arguments.two_cr:
        conditions += conditions_of(name)
    counted = Counter(condition.name for condition in conditions)
    twice = [name for name, count in counted.items() if count > 1]
    if twice:
        raise TasbError(
            expected="regressions of different names, by which their results are kept",
            found=f"{', '.join(twice)} more than once",
            do="name each once, or change `name` in one of the files",
        )
    each_stage_once(stage for condition in conditions for stage in condition.stages)
    if not conditions:
        raise TasbError(
            expected="names of regressions, --all, --match or --2cr",
            found="none of them",
            do="see `tasb regress --list`",
        )
    return conditions
