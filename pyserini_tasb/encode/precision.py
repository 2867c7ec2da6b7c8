"""Which floating-point type to compute in, on the hardware that is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Precision = Literal["fp32", "bf16"]


def compute_type(precision: Precision, device: str) -> torch.dtype:
    """The torch type for `precision` on `device`: fp32 where the hardware has no fast bf16.

    On a GPU without bf16 (before Ampere), fp16 takes its place.
    """
    import torch

    if precision == "fp32":
        return torch.float32
    if torch.device(device).type == "cuda":  # not run here: no GPU on the machine that wrote this
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if cpu_has_bf16() else torch.float32


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
