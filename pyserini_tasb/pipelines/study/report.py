"""What a study leaves to look at: `table.md` and `study.png`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserini_tasb.pipelines.study.comparison import compare
from pyserini_tasb.pipelines.study.picture import draw
from pyserini_tasb.pipelines.study.table import as_markdown
from pyserini_tasb.whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyserini_tasb.pipelines.study.config import StudyConfig
    from pyserini_tasb.pipelines.study.entry import Entry

TABLE, PICTURE = "table.md", "study.png"


def write_report(study: StudyConfig, entries: Sequence[Entry]) -> None:
    """Write both, of what was measured so far."""
    write_whole(study.output / TABLE, as_markdown(study, entries, compare(study, entries)))
    draw(study, entries, study.output / PICTURE)
