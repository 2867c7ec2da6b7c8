"""`tasb study`: train a grid, measure each cell, compare."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.interruption import INTERRUPTED
from pyserini_tasb.pipelines.study.config import StudyConfig
from pyserini_tasb.pipelines.study.report import TABLE
from pyserini_tasb.pipelines.study.running import StudyRun
from pyserini_tasb.pipelines.study.training import TrainingInterruptedError
from pyserini_tasb.recipes import load_recipe
from pyserini_tasb.train.command import same_command

if TYPE_CHECKING:
    import argparse


def run(arguments: argparse.Namespace) -> int:
    """Do what of a study is not done, unless only a report is wanted; 1 where a row failed, which stops no other.

    Raises:
        TasbError: a configuration, a task or a model that is none; nothing has been trained then.
    """
    config = load_recipe(Path(arguments.config), StudyConfig, arguments.set)
    study = StudyRun(config, same_command("study", arguments))
    try:
        failed = {} if arguments.report_only else study.run()
    except TrainingInterruptedError:
        return INTERRUPTED
    measured, wanted = study.report()
    print((config.output / TABLE).read_text(encoding="utf-8"))
    for name, error in failed.items():
        print(f"tasb study: {name} failed\n{error}", file=sys.stderr)
    if arguments.report_only:
        print(f"measured: {measured} of {wanted} models")
    return 1 if failed else 0
