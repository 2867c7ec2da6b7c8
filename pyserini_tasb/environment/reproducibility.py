"""The same bytes from the same model and texts: the setting of MKL, which multiplies matrices for torch on x86.

On processors that are not Intel's, MKL chooses its kernel by where the numbers lie in memory. The last bits of a
vector then change from run to run (measured with torch 2.13 on AMD EPYC, with AVX2 and with AVX-512; not seen on
Intel). Its mode of conditional numerical reproducibility ends that. In this mode `AUTO` takes the fastest instructions
of each processor. On AMD's no other setting is fast: MKL reads `AVX2` and `AVX512` as `AUTO` (MKL_VERBOSE=1).

oneDNN (bf16), Faiss, NumPy and ONNX Runtime need nothing: they gave the same bytes at each of 16 alignments.
"""

from __future__ import annotations

import functools
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

VARIABLE, SETTING = "MKL_CBWR", "AUTO"
# Bytes after a multiple of 64; torch itself puts every tensor at such a multiple.
OFFSETS = range(0, 64, 4)


def request_reproducibility() -> None:
    """Ask MKL for reproducible products in this process and its children, unless the user has set the variable.

    This must run before MKL first multiplies: only then it reads the variable.
    """
    os.environ.setdefault(VARIABLE, SETTING)


def ensure_reproducibility() -> None:
    """Request reproducibility; say once where the request is too late, because torch has multiplied already."""
    own_choice = os.environ.get(VARIABLE, SETTING) != SETTING
    request_reproducibility()
    if not own_choice and products_depend_on_alignment():
        _say_too_late()


@functools.cache
def products_depend_on_alignment() -> bool:
    """True if torch's product of the same small matrices has other bytes at other addresses, in this process."""
    import torch

    generator = torch.Generator().manual_seed(0)
    rows, weights = (torch.randn(count, 64, generator=generator) for count in (3, 32))
    products = {
        torch.nn.functional.linear(copied_to(offset, rows), copied_to(other, weights)).numpy().tobytes()
        for offset in OFFSETS
        for other in OFFSETS
    }
    return len(products) > 1


def copied_to(offset: int, values: torch.Tensor) -> torch.Tensor:
    """A copy of fp32 `values` whose first byte lies `offset` bytes after a multiple of 64."""
    import torch

    space = torch.empty(values.numel() + 32, dtype=torch.float32)
    start = (-space.data_ptr() % 64 + offset) // space.element_size()
    return space[start : start + values.numel()].view(values.shape).copy_(values)


@functools.cache
def _say_too_late() -> None:
    print(
        "pyserini-tasb: torch multiplied matrices before our first model was loaded, so that the last bits of vectors "
        f"can differ from run to run on this processor. To prevent it, set {VARIABLE}={SETTING} before Python starts",
        file=sys.stderr,
    )
