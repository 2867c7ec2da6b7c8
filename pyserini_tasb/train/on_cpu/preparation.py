"""All that is changed about an encoder before it trains on a CPU."""

from __future__ import annotations

from typing import Any

from pyserini_tasb.train.on_cpu.attention import use_cpu_attention
from pyserini_tasb.train.on_cpu.dropout import use_cpu_dropout
from pyserini_tasb.train.on_cpu.packed_forward import pack_texts


def prepare_for_cpu(transformer: Any) -> None:
    """Replace its dropout and attention, and let it pack texts."""
    use_cpu_attention(transformer)
    use_cpu_dropout(transformer)
    pack_texts(transformer)
