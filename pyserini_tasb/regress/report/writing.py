"""A report's three files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserini_tasb.errors import os_errors_explained
from pyserini_tasb.regress.report.junit import as_junit
from pyserini_tasb.regress.report.markdown import as_markdown
from pyserini_tasb.regress.report.page import as_page
from pyserini_tasb.whole_file import write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from pyserini_tasb.regress.report.content import Content

PAGE, MARKDOWN, JUNIT = "index.html", "report.md", "junit.xml"


def write_report(content: Content, folder: Path) -> Path:
    """Write them, replacing those of an earlier report; return the page.

    Raises:
        TasbError: the folder cannot be made or written to.
    """
    files = {PAGE: as_page(content), MARKDOWN: as_markdown(content), JUNIT: as_junit(content)}
    with os_errors_explained(folder, expected="a folder to write to", do="choose another for the report"):
        folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        write_whole(folder / name, text)
    return folder / PAGE
