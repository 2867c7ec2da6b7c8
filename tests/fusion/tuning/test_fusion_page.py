"""benchmarks/fusion_page/run.py: what docs/fusion-trec-dl.md shows is what it finds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, ROOT / "benchmarks" / "fusion_page" / "run.py"]
PAGE = ROOT / "docs" / "fusion-trec-dl.md"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The page, written again around nothing."""
    page = tmp_path_factory.mktemp("page") / "fusion.md"
    before, begin, rest = PAGE.read_text().partition("up to the end mark. -->\n")
    _, end, after = rest.partition("<!-- The end mark. -->")
    page.write_text(before + begin + end + after)
    subprocess.run([*COMMAND, "--page", page], check=True)
    return page


def test_the_page_shows_what_the_command_finds(written):
    assert written.read_text() == PAGE.read_text()
    assert written.with_name("fusion.png").read_bytes().startswith(b"\x89PNG")


def test_known_values(written):
    text = written.read_text()
    assert re.search(r"\| TAS-B \| 0\.7210 .* \| 0\.6854 ", text)
    assert re.search(r"\| BM25 \| 0\.5058 .* \| 0\.4796 ", text)
    # Those that `tasb tune` holds out.
    assert "| linear | the other set | 0.74 | 0.7040 |" in text
    assert "| linear | the other set | 0.615 | 0.7245 |" in text
    assert "| linear | 5 folds | 0.31 to 0.98 | 0.7116 |" in text


def test_a_page_without_marks_is_left_alone(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("prose")
    done = subprocess.run([*COMMAND, "--page", page], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "expected the marks" in done.stderr
    assert page.read_text() == "prose"
    assert list(tmp_path.iterdir()) == [page]
