"""Which `--encoder` names mean TAS-B. Standard library only."""

from __future__ import annotations

CLASS_NAME = "tasb"  # of `--encoder-class`
# Pyserini looks for its class names as substrings of the lower-cased encoder name; these are ours.
MARKS = ("tasb", "tas_b", "tas-b")


def names_tasb(encoder: str) -> bool:
    """Whether `--encoder ENCODER` asks for TAS-B: `tasb`, `tasb:…`, or a last path component that says so.

    `/data/tasb-study/contriever` merely contains the letters: its last component is somebody else's model.
    """
    name = encoder.strip().lower().replace("\\", "/").rstrip("/")
    return name.startswith("tasb:") or any(mark in name.rpartition("/")[2] for mark in MARKS)


def without_ours(class_map: dict[str, type]) -> dict[str, type]:
    """Pyserini's class map as it would be had we never been installed."""
    return {name: kind for name, kind in class_map.items() if name not in MARKS}
