"""`report.json`, beside a new index: what it is and what it finds."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from pyserini_tasb.whole_file import write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from pyserini_tasb.index.quality import Quality

REPORT = "report.json"


@dataclass(frozen=True)
class IndexReport:
    """What is printed and saved.

    Args:
        kind: as it was asked for.
        recipe: Faiss's factory string and parameters, or Anserini's class.
        vectors, dimension: of the index.
        bytes: of all its files.
        seconds: to build it.
        threads: it was built with, and searched with.
        queries: which the quality was measured with, in words.
        quality: recall and latency.
        encoders: that belong to the index.
        warning: what is weak about it; empty if nothing is.
    """

    kind: str
    recipe: str
    vectors: int
    dimension: int
    bytes: int
    seconds: float
    threads: int
    queries: str
    quality: Quality
    encoders: list[str]
    warning: str

    def write(self, folder: Path) -> None:
        """Write it into the index's folder.

        Raises:
            TasbError: the disk refuses.
        """
        write_whole(folder / REPORT, json.dumps(asdict(self), indent=1) + "\n")

    def text(self) -> str:
        """For people."""
        recall = ", ".join(f"recall@{depth} {share:.4f}" for depth, share in self.quality.recall.items())
        return (
            f"{self.kind} ({self.recipe}): {self.vectors:,} vectors of {self.dimension} dimensions\n"
            f"  size     {self.bytes / 1e6:,.1f} MB, {self.bytes / self.vectors:,.0f} bytes a vector\n"
            f"  built    in {self.seconds:,.1f} s with {self.threads} threads\n"
            f"  finds    {recall} of exact search\n"
            f"  takes    p50 {self.quality.p50:.2f} ms, p99 {self.quality.p99:.2f} ms a query, {self.threads} threads\n"
            f"  queries  {self.queries}\n"
            f"  encoder  {', '.join(self.encoders) or 'not known: the vectors do not say it (--query-encoder NAME)'}"
        )


def folder_bytes(folder: Path) -> int:
    """Bytes of all files of a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
