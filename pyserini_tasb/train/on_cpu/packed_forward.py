"""A Hugging Face encoder that packs what it is given, on a CPU: as before for its caller, without computing padding."""

from __future__ import annotations

from typing import Any

import torch

from pyserini_tasb.encode.batching import batches_by_length
from pyserini_tasb.model.first_token import layers_are_known
from pyserini_tasb.model.packing import Packing, rounded_up

# Of a rectangle that attention sees at once, with padding.
TOKENS_PER_RECTANGLE = 2_048
INPUTS = ("input_ids", "token_type_ids")


def pack_texts(transformer: Any) -> None:
    """From now on pack every batch, if this is a BERT or a DistilBERT; leave any other model as it is.

    Its attention has to be that of `on_cpu.attention`, its input padded on the right.
    """
    if layers_are_known(transformer):
        transformer.register_forward_pre_hook(_pack, with_kwargs=True)
        transformer.register_forward_hook(_pad, with_kwargs=True)


def packs_texts(transformer: Any) -> bool:
    """Whether it does so."""
    return _pack in transformer._forward_pre_hooks.values()  # noqa: SLF001 - PyTorch has no other way to ask


def _pack(_module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    mask = named.get("attention_mask")
    if mask is None or bool(mask.all()):  # no padding to leave out
        return arguments, named
    lengths = mask.sum(dim=1).numpy()
    groups = list(batches_by_length(rounded_up(lengths).tolist(), TOKENS_PER_RECTANGLE))
    packing = Packing(lengths, groups, columns=mask.shape[1])
    inputs: dict[str, Any] = {name: packing.pack(named[name]) for name in INPUTS if name in named}
    return arguments, inputs | {"position_ids": packing.positions, "packing": packing}


def _pad(module: Any, _arguments: tuple[Any, ...], named: dict[str, Any], output: Any) -> Any:
    packing: Packing | None = named.get("packing")
    if packing is None or output.last_hidden_state.shape[1] != packing.rows:  # of the first tokens alone
        return output
    padded = packing.padded(output.last_hidden_state)
    output.last_hidden_state = torch.nn.functional.pad(padded, (0, 0, 0, packing.columns - padded.shape[1]))
    if getattr(output, "pooler_output", None) is not None:
        output.pooler_output = module.pooler(output.last_hidden_state)
    return output
