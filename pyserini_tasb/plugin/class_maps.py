"""Add our two encoder classes to `pyserini.encode`'s class maps."""

from __future__ import annotations

from typing import Any

from pyserini_tasb.encode import TasbDocumentEncoder, TasbQueryEncoder
from pyserini_tasb.plugin.names import MARKS


def adapt(namespace: dict[str, Any]) -> None:
    """Put our keys first (the first match wins), in place: other modules hold these very dicts."""
    for map_name, encoder in (
        ("query_encoder_class_map", TasbQueryEncoder),
        ("document_encoder_class_map", TasbDocumentEncoder),
    ):
        class_map = namespace[map_name]
        theirs = dict(class_map)
        class_map.clear()
        class_map.update(dict.fromkeys(MARKS, encoder))
        class_map.update(theirs)
