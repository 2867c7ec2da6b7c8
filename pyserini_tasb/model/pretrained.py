"""Models of Hugging Face's own classes, with all of their weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyserini_tasb.environment.reproducibility import ensure_reproducibility
from pyserini_tasb.errors import TasbError
from pyserini_tasb.model.weights import load_errors_explained

if TYPE_CHECKING:
    from pathlib import Path

    import torch


def load_pretrained(
    auto_class: Any, folder: Path, precision: torch.dtype, *, allow_bin: bool, unused: tuple[str, ...] = ()
) -> Any:
    """The folder's model.

    Args:
        auto_class: `AutoModel` or one of its siblings.
        folder: the checkpoint.
        precision: of the weights in memory.
        allow_bin: accept weights in `pytorch_model.bin` where there are no safetensors.
        unused: how the names of parameters start that the folder may lack, because nothing will use them.

    Raises:
        TasbError: files that cannot be read, or weights that do not fill the model that config.json describes.
    """
    ensure_reproducibility()  # every model of torch comes through here before it computes
    with load_errors_explained(folder):
        model, report = auto_class.from_pretrained(
            str(folder),
            dtype=precision,
            use_safetensors=None if allow_bin else True,  # None: safetensors where there are any
            ignore_mismatched_sizes=True,  # reported below, with what is missing
            trust_remote_code=False,
            output_loading_info=True,
            local_files_only=True,
        )
    # transformers 4 lists names of the wrong shape, 5 names with both shapes.
    reshaped = (key if isinstance(key, str) else key[0] for key in report["mismatched_keys"])
    absent = sorted(key for key in {*report["missing_keys"], *reshaped} if not key.startswith(unused))
    if absent:
        raise TasbError(
            where=str(folder),
            expected="weights for every parameter of the model that config.json describes",
            found=f"{len(absent)} parameters without weights of their shape, such as `{absent[0]}`: they would be "
            "random numbers",
            do="check that config.json and the weights come from the same model",
        )
    return model
