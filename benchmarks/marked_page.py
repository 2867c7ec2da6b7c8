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
    text = page.read_text(encoding="utf-8")
    if not MARKED.search(text):
        sys.exit(f"{page}: expected the marks <!-- Written by …, up to the end mark. --> and <!-- The end mark. -->")
    results = sys.stdin.read().strip()
    write_whole(page, MARKED.sub(lambda _: f"\n{results}\n\n", text, count=1))


if __name__ == "__main__":
    main()
