"""Models of Hugging Face's own classes with all of their weights, read without running anything from the file."""

from __future__ import annotations

import contextlib
import re
import warnings
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file

from pyserini_tasb.environment.processor import ensure_reproducibility
from pyserini_tasb.errors import TasbError
from pyserini_tasb.models.checkpoints import PICKLED_WEIGHTS, SAFE_WEIGHTS, load_errors_explained

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path


ONE_MODEL = "check that config.json and the weights come from the same model"
PROBES, PROBE_LENGTH = 8, 6


def load_pretrained(
    auto_class: Any, folder: Path, precision: torch.dtype, *, allow_bin: bool, unused: tuple[str, ...] = ()
) -> Any:
    """The folder's model.

    Args:
        auto_class: `AutoModel` or one of its siblings.
        folder: the checkpoint.
        precision: the precision of the weights in memory.
        allow_bin: accept weights in `pytorch_model.bin` where there are no safetensors.
        unused: how the names of parameters start that the folder may lack, because nothing will use them.

    Raises:
        TasbError: files that cannot be read, weights that do not fill the model that config.json describes, weights of
            more layers than it describes, or an encoder-decoder where `auto_class` is `AutoModel`.
    """
    ensure_reproducibility()  # every model of torch comes through here before it computes
    from transformers import AutoConfig, AutoModel

    with load_errors_explained(folder):
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
    architecture = next(iter(config.architectures or ()), config.model_type)
    # A T5's encoder that was saved without its decoder is read as a whole T5, too.
    has_decoder = getattr(config, "is_encoder_decoder", False) or architecture.endswith("EncoderModel")
    if auto_class is AutoModel and has_decoder:
        raise TasbError(
            where=str(folder),
            expected="an encoder, which makes a vector for each token of the text",
            found=f"an encoder-decoder ({architecture}), read with its decoder: the vectors would be the decoder's",
            do="choose an encoder (BERT-like), or a causal model with `pooling: last`",
        )
    with load_errors_explained(folder), without_progress_bar():
        model, report = auto_class.from_pretrained(
            str(folder),
            config=config,
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
            do=ONE_MODEL,
        )
    left_out = _further_layers(model, report["unexpected_keys"])
    if left_out:
        raise TasbError(
            where=str(folder),
            expected="no weights of further layers than config.json describes",
            found=f"{len(left_out)} weights of such layers, such as `{left_out[0]}`: they would be left out",
            do=f"{ONE_MODEL}: config.json may have too few layers",
        )
    require_computing(model, folder)
    return model


def require_computing(model: Any, folder: Path) -> None:
    """Refuse a model that computes nothing: config.json can describe one whose parts do not fit.

    Args:
        model: a model of transformers, in evaluation mode.
        folder: its folder.

    Raises:
        TasbError: it fails on a text of three tokens.
    """
    ids = torch.zeros(1, 3, dtype=torch.long)
    encoder = model.get_encoder() if getattr(model.config, "is_encoder_decoder", False) else model
    with load_errors_explained(folder), torch.inference_mode():
        encoder(input_ids=ids, attention_mask=torch.ones_like(ids))


@contextlib.contextmanager
def without_progress_bar() -> Iterator[None]:
    """A block without the bars in which transformers 5 counts weights that it reads from this disk or writes to it."""
    from transformers.utils import logging as untyped

    logging: Any = untyped
    if not logging.is_progress_bar_enabled():
        yield
        return
    # HF_HUB_DISABLE_PROGRESS_BARS=0 makes these calls warn, of bars of downloads: here is none.
    with warnings.catch_warnings(action="ignore"):
        logging.disable_progress_bar()
    try:
        yield
    finally:
        with warnings.catch_warnings(action="ignore"):
            logging.enable_progress_bar()


def _further_layers(model: Any, unexpected: Iterable[str]) -> list[str]:
    """Names of weights in the file that differ from a name in the model by numbers only.

    Other weights that the model does not take are those of heads, which a bi-encoder leaves out.
    """
    prefix = f"{model.base_model_prefix}."

    def without_numbers(name: str) -> str:
        return re.sub(r"(?<=\.)\d+(?=\.)", "#", name.removeprefix(prefix))

    own = {without_numbers(name) for name in model.state_dict()}
    return sorted(name for name in unexpected if without_numbers(name) in own)


def require_first_token_reads_all(transformer: Any, folder: Path, *, do: str) -> None:
    """Refuse a causal model (GPT-2, Llama): the vector of its first token is the same for all texts.

    Args:
        transformer: a Hugging Face model with `last_hidden_state`.
        folder: which model it is.
        do: the remedy, for the message.

    Raises:
        TasbError: its first token does not read the others.
    """
    if not first_token_reads_all(transformer):
        raise TasbError(
            where=str(folder),
            expected="a model whose first token reads the whole text, because that token's vector is used",
            found=f"a causal model ({type(transformer).__name__}): all texts begin with the "
            "same token, and would have the same vector",
            do=do,
        )


def first_token_reads_all(transformer: Any) -> bool:
    """True if the vector of a text's first token depends on the tokens after it."""

    def first_vectors(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        vectors: torch.Tensor = transformer(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]
        return vectors

    return depends_on_text(first_vectors, transformer)


def depends_on_text(outputs: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], transformer: Any) -> bool:
    """True if a model's outputs differ for texts that have their first token in common, and no other.

    The model is tried, because each kind of model sets up attention in its own way.

    Args:
        outputs: [texts, ...] of token ids and mask [texts, tokens].
        transformer: the Hugging Face model in it, in evaluation mode.

    Raises:
        TasbError: an output is no finite number.
    """
    words = len(transformer.get_input_embeddings().weight)
    ids = torch.randint(words, (PROBES, PROBE_LENGTH), generator=torch.Generator().manual_seed(0))
    ids[:, 0] = ids[0, 0]
    with torch.inference_mode():
        found = outputs(ids, torch.ones_like(ids)).float()
    if not found.isfinite().all():
        raise TasbError(
            where=str(transformer.name_or_path),
            expected="a model that computes finite numbers",
            found=f"others, such as {float(found[~found.isfinite()][0])}",
            do="check its weights: training may have diverged; where they overflow in fp16, compute in fp32",
        )
    # Equal outputs differ in their last bits at most; in bf16 those are large.
    rounding = max(1e-5, torch.finfo(transformer.dtype).eps / 2)
    return bool((found - found[:1]).abs().mean() > rounding * found.abs().mean())


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
