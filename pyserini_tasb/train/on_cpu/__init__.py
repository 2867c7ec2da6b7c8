"""What makes a Hugging Face encoder train faster on a CPU, without changing what it computes."""

from pyserini_tasb.train.on_cpu.packed_forward import packs_texts
from pyserini_tasb.train.on_cpu.preparation import prepare_for_cpu

__all__ = ["packs_texts", "prepare_for_cpu"]
