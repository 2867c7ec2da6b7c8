"""Put results into a page, between its two marks; what stands around them is kept.

SCRIPT | python benchmarks/marked_page.py docs/PAGE.md
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from pyserini_tasb.artifacts import write_whole

MARKED = re.compile(r"(?<=, up to the end mark\. -->\n).*(?=<!-- The end mark\. -->\n)", re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, help="a page with the two marks")
    page = parser.parse_args().page
    write_whole(page, with_results(page.read_text(encoding="utf-8"), sys.stdin.read()))


def with_results(text: str, results: str) -> str:
    """A page's text with other results between the marks."""
    if not MARKED.search(text):
        sys.exit("expected the marks <!-- Written by …, up to the end mark. --> and <!-- The end mark. --> in the page")
    return MARKED.sub(lambda _: f"\n{results.strip()}\n\n", text, count=1)


if __name__ == "__main__":
    main()
