"""Folders of a transformer with a head of its own (BERT_CAT, ColBERT): the authors' published ones, and ours.

Weights are named `bert_model.…` and by the head. The authors' config.json only names the transformer that training
started from; ours has that of the transformer under `transformer`, and what the head needs beside. Both have a
`model_type` that transformers does not know. Ours had that of the transformer before: then transformers found no weight
under the names it looked for, and began with random numbers.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch

from pyserini_tasb.errors import TasbError
from pyserini_tasb.models.checkpoints import (
    CONFIG,
    SAFE_WEIGHTS,
    load_errors_explained,
    may_be_hub_id,
    read_config,
)
from pyserini_tasb.models.pretrained import load_pretrained, read_weights

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


TRANSFORMER_CONFIG = "transformer"
TRANSFORMER = "bert_model."
POOLER = "pooler"
AUTHORS_TYPES = {"BERT_Cat", "ColBERT"}  # their model_type, which transformers does not know
# Their transformers, whose sizes are the defaults of these configurations.
STARTS = {"distilbert-base-uncased": "distilbert", "bert-base-uncased": "bert"}


def transformer_config(folder: Path) -> Any:
    """The transformer's own configuration.

    Raises:
        TasbError: the model is of a kind that transformers does not know, or named, as the authors do, by a model that
            is neither known nor here.
    """
    from transformers import AutoConfig

    config = read_config(folder)
    if isinstance(config.get(TRANSFORMER_CONFIG), dict):
        with load_errors_explained(folder):
            return AutoConfig.for_model(**config[TRANSFORMER_CONFIG])
    if config.get("model_type") not in AUTHORS_TYPES:
        with load_errors_explained(folder):
            return AutoConfig.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
    start = str(config.get("bert_model"))
    if start in STARTS:
        return AutoConfig.for_model(STARTS[start])
    try:
        return AutoConfig.from_pretrained(start, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise TasbError(
            where=str(folder / CONFIG),
            expected=f"a `bert_model` that is known ({', '.join(STARTS)}), in the local hub cache, or at the hub",
            found=start,
            do=f"where there is internet: `hf download {start}`, then copy the cache folder here"
            if "/" not in start or may_be_hub_id(start)
            else "set `bert_model` to a model of the hub with this transformer's configuration",
        ) from error


def starting_transformer(folder: Path) -> Any:
    """A transformer with its weights, to put a new head on; without the pooler that BERT has of its own.

    Raises:
        TasbError: the folder's weights do not fill the model that its config.json describes.
    """
    from transformers import AutoModel

    # `find_checkpoint` has refused the pickles that nobody allowed.
    transformer = load_pretrained(AutoModel, folder, torch.float32, allow_bin=True, unused=(f"{POOLER}.",))
    if getattr(transformer, POOLER, None) is not None:
        transformer.pooler = None
    return transformer


def described_transformer(folder: Path) -> Any:
    """The transformer that the folder describes, with weights still to be filled in.

    Raises:
        TasbError: config.json describes none that can be.
    """
    from transformers import AutoModel

    config = transformer_config(folder)
    with load_errors_explained(folder):
        transformer: Any = AutoModel.from_config(  # type: ignore[no-untyped-call]
            config,
            dtype=torch.float32,  # config.json may name a type that the weights would be rounded to
            trust_remote_code=False,
        )
    if read_config(folder).get(POOLER) is False:
        transformer.pooler = None
    return transformer


def fill(model: torch.nn.Module, folder: Path, names: Mapping[str, str]) -> None:
    """Load a folder's weights into a model, all of them.

    Args:
        model: its transformer is `model.transformer`.
        folder: the checkpoint.
        names: the head's parameters in `model` → those in the file.

    Raises:
        TasbError: parameters without weights, weights of another shape, or weights that no parameter takes.
    """
    # Old checkpoints hold the positions' numbers, which newer transformers compute.
    weights = {name: tensor for name, tensor in read_weights(folder).items() if not name.endswith("position_ids")}
    wanted = {_in_file(name, names): parameter for name, parameter in model.state_dict().items()}
    wrong = [f"no weights for `{name}`" for name in wanted if name not in weights]
    wrong += [f"nothing takes `{name}`" for name in weights if name not in wanted]
    wrong += [
        f"`{name}` of shape {list(weights[name].shape)}, not {list(parameter.shape)}"
        for name, parameter in wanted.items()
        if name in weights and weights[name].shape != parameter.shape
    ]
    if wrong:
        raise TasbError(
            where=str(folder),
            expected="only the weights of the model that config.json describes",
            found="; ".join(wrong[:3]) + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""),
            do="check that config.json and the weights come from the same model",
        )
    model.load_state_dict({name: weights[_in_file(name, names)] for name in model.state_dict()})


def save(folder: Path, model: torch.nn.Module, names: Mapping[str, str], *, architecture: str, **head: Any) -> None:
    """Write config.json and model.safetensors of a model into an existing folder; arguments as of `fill`.

    Args:
        folder: gets the files.
        model: see `fill`.
        names: see `fill`.
        architecture: what config.json calls it.
        head: what config.json says of the head.
    """
    from safetensors.torch import save_file

    weights = {_in_file(name, names): tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    transformer: Any = model.transformer
    config = {
        "architectures": [architecture],
        "model_type": f"pyserini-tasb-{architecture}",
        POOLER: getattr(transformer, POOLER, None) is not None,
        **head,
        TRANSFORMER_CONFIG: transformer.config.to_dict(),
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file(weights, folder / SAFE_WEIGHTS[0], metadata={"format": "pt"})


def _in_file(name: str, names: Mapping[str, str]) -> str:
    return names.get(name, TRANSFORMER + name.removeprefix("transformer."))
