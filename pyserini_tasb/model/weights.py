"""A checkpoint's weights, read without running anything that may lie in the file."""

from __future__ import annotations

import contextlib
import pickle
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from pyserini_tasb.errors import TasbError
from pyserini_tasb.model.checkpoint import PICKLED_WEIGHTS, SAFE_WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Tensors by name, of `model.safetensors`, or of `pytorch_model.bin` where there are none.

    Raises:
        TasbError: weights in several files, broken ones, or a pickle of anything else.
    """
    safe, pickled = folder / SAFE_WEIGHTS[0], folder / PICKLED_WEIGHTS[0]
    with load_errors_explained(folder):
        if safe.exists():
            return load_file(safe)
        if pickled.exists():
            weights = torch.load(pickled, map_location="cpu", weights_only=True)
            if isinstance(weights, dict) and all(isinstance(tensor, torch.Tensor) for tensor in weights.values()):
                return weights
            raise ValueError("no tensors by name")
    raise TasbError(
        where=str(folder),
        expected=f"all weights in {safe.name}",
        found="weights in several files",
        do="load the model where it was made, and save it in one file",
    )


@contextlib.contextmanager
def load_errors_explained(folder: Path) -> Iterator[None]:
    """What goes wrong in the block, where a folder's files are read, as a TasbError."""
    try:
        yield
    except pickle.UnpicklingError as error:  # torch's words recommend to load the file unsafely
        raise TasbError(
            where=str(folder),
            expected="weights, and nothing but weights, in pytorch_model.bin",
            found="no pickle, or one that holds more than weights; what it holds was not run",
            do="fetch the file again, from somebody you trust",
        ) from error
    except (OSError, ValueError, RuntimeError, EOFError, SafetensorError) as error:
        raise TasbError(
            where=str(folder),
            expected="a config.json and weights that can be read",
            found=f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}",
            do="check that the files are whole and of one model; `git lfs pull` fetches what was only named",
        ) from error
