"""`tasb data msmarco`: MS MARCO passage training data with the published teacher scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.train.data.msmarco.download import Internet
from pyserini_tasb.train.data.msmarco.files import MSMARCO
from pyserini_tasb.train.data.msmarco.next_steps import COMMANDS, CONFIGURATION
from pyserini_tasb.train.data.msmarco.recipe import prepare

if TYPE_CHECKING:
    import argparse


def run(arguments: argparse.Namespace) -> int:
    """Prepare `arguments.output`; print the commands that come next.

    Raises:
        TasbError: options that do not go together, a file that is missing or not as published, no room on the disk.
    """
    if arguments.skip_download and arguments.base_url:
        raise TasbError(
            expected="--base-url or --skip-download",
            found="both",
            do="leave one out: a mirror is for downloads",
        )
    output = Path(arguments.output).expanduser()
    commands = prepare(
        MSMARCO,
        output,
        source=Path(arguments.source).expanduser() if arguments.source else None,
        internet=None if arguments.skip_download else Internet(arguments.base_url),
    )
    print(f"\nNext, also in {output / COMMANDS} (edit {output / CONFIGURATION} first):")
    print("\n".join(f"$ {command}" for command in commands))
    return 0
