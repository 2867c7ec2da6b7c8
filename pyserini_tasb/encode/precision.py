"""Which number format to compute in, on the hardware that is there.

A precision is the least accuracy that is asked for. What computes takes its fastest format that is no less accurate
and that the hardware has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserini_tasb.recipes.types import Precision

if TYPE_CHECKING:
    import torch

__all__ = ["ACCURACY", "Precision", "autocast", "compute_type", "cpu_has_bf16", "reduced"]

# Larger is more accurate. `auto` stops at bf16, which loses little whatever the model; what int8 loses is the model's.
ACCURACY: dict[Precision, int] = {"int8": 0, "bf16": 1, "auto": 1, "fp16": 2, "fp32": 3}


def reduced(precision: Precision) -> Precision:
    """What Pyserini's `--fp16` makes of a card's precision: bf16, unless the card asks for less already."""
    return "bf16" if ACCURACY[precision] > ACCURACY["bf16"] else precision


def compute_type(precision: Precision, device: str) -> torch.dtype:
    """The torch type for `precision` on `device`: fp32 where the hardware has no fast type that is accurate enough.

    torch multiplies no int8 here; bf16 takes its place. On a GPU without bf16 (before Ampere), fp16 does.
    """
    import torch

    if precision == "fp32":
        return torch.float32
    if torch.device(device).type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if has_bf16 and precision != "fp16" else torch.float16
    return torch.bfloat16 if precision != "fp16" and cpu_has_bf16() else torch.float32


def autocast(compute: torch.dtype, device: str) -> torch.autocast:
    """Multiply matrices in `compute` for what is computed inside; weights are cast once for all of it."""
    import torch

    return torch.autocast(torch.device(device).type, dtype=compute, enabled=compute is not torch.float32)


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bf16 matrices itself (AVX512-BF16 or AMX) rather than by conversion."""
    import torch

    # torch before 2.11 or so cannot tell; fp32 is right everywhere.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))
