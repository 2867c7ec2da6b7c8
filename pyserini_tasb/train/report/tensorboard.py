"""Scalars for TensorBoard, where it is installed."""

from __future__ import annotations

import importlib.util
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class TensorBoard:
    """Writes events that `tensorboard --logdir FOLDER` shows; does nothing where the package `tensorboard` is not here.

    Args:
        folder: of the event files.
        done: steps done before, when a run is resumed: events of later steps are hidden.
    """

    def __init__(self, folder: Path, *, done: int = 0) -> None:
        self._writer: Any = None
        if importlib.util.find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder), purge_step=done + 1 if done else None)

    def append(self, step: int, values: Mapping[str, float | None]) -> None:
        """Write numbers by their names; those that are None or not finite are left out."""
        if self._writer is not None:
            for name, value in values.items():
                if value is not None and math.isfinite(value):
                    self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()
