"""What a study leaves: `table.md` and `study.png` to look at, `study.json` for other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserini_tasb.pipelines.study.comparison import compare
from pyserini_tasb.pipelines.study.document import DOCUMENT, document_of
from pyserini_tasb.pipelines.study.picture import draw
from pyserini_tasb.pipelines.study.table import as_markdown
from pyserini_tasb.whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyserini_tasb.pipelines.study.config import StudyConfig
    from pyserini_tasb.pipelines.study.entry import Entry

TABLE, PICTURE = "table.md", "study.png"


def write_report(study: StudyConfig, entries: Sequence[Entry]) -> None:
    """Write them, of what was measured so far."""
    comparisons = compare(study, entries)
    document = document_of(study, entries, comparisons)
    write_whole(study.output / TABLE, as_markdown(study, entries, comparisons))
    write_whole(study.output / DOCUMENT, document.model_dump_json(indent=1) + "\n")
    draw(document, study.output / PICTURE)
