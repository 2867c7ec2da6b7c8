"""Back ends by name, the number formats they compute in, and PyTorch, the first of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pyserini_tasb.environment.processor import threads
from pyserini_tasb.models.checkpoints import find_checkpoint
from pyserini_tasb.models.tokenizers import HuggingFaceTokenizer, require_pooled_token

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from pyserini_tasb.models.bert_dot import BertDot
    from pyserini_tasb.recipes.types import EncoderCard, Precision


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


# --------
# What a back end loads: a model and its tokenizer.


class TextTokenizer(Protocol):
    """Texts to token ids, from any number of threads."""

    @property
    def longest(self) -> int:
        """The most tokens that the tokenizer allows a text; 10**30 where it says none."""

    @property
    def pad_id(self) -> int:
        """The id of padding."""

    @property
    def hugging_face(self) -> Any:
        """The same as a tokenizer of transformers."""

    @property
    def vocabulary(self) -> dict[str, int]:
        """Every token and its id."""

    def token_ids(self, texts: Sequence[str], pairs: Sequence[str] | None, max_length: int) -> list[list[int]]:
        """Ids of each text, special tokens included, at most `max_length` of them.

        Args:
            texts: first segments.
            pairs: second segments, one for each text.
            max_length: tokens kept, of both segments together.
        """


class Model(Protocol):
    """A model in one precision on one device. Calls from several threads do not disturb each other."""

    @property
    def dimension(self) -> int:
        """The length of a vector."""

    @property
    def longest(self) -> int | None:
        """The most tokens a text may have; None if there is no limit."""

    @property
    def tokens_per_batch(self) -> int:
        """How many tokens to give it at once, padding included: enough to keep the hardware busy, and no more."""

    def tokenizer(self, given: str | None) -> TextTokenizer:
        """The model's tokenizer, or the one in the folder (or of the hub id) `given`.

        Raises:
            TasbError: it knows no words, or more than the model.
        """

    def vectors(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors [texts, dimension] of token ids and mask [texts, tokens], padded on the right."""


# --------
# The back ends by name.


class Backend(Protocol):
    """A library that computes vectors."""

    def best_device(self) -> str:
        """A GPU if the library has one, else the CPU."""

    def computes_in(self, card: EncoderCard, precision: Precision, device: str) -> Precision:
        """Its fastest format on this machine that is no less accurate than `precision`; never `auto`."""

    def lacks(self, card: EncoderCard, precision: Precision) -> str:
        """What has to be installed before it can load the card's model; empty if nothing."""

    def load(self, card: EncoderCard, precision: Precision, device: str) -> Model:
        """The card's model, in a precision that `computes_in` gave.

        Raises:
            TasbError: the model is not here and cannot be had, or is no bi-encoder.
        """


BACKENDS: dict[str, Backend] = {}
AnyBackend = TypeVar("AnyBackend", bound=Backend)


def backend(name: str) -> Callable[[type[AnyBackend]], type[AnyBackend]]:
    """Register a class without arguments as the back end `name`."""

    def register(cls: type[AnyBackend]) -> type[AnyBackend]:
        BACKENDS[name] = cls()
        return cls

    return register


# --------
# PyTorch: fp32, bf16 where the hardware multiplies it, fp16 on GPUs.

# Enough to keep the hardware busy, small enough that texts of one batch are of one length.
TOKENS_PER_BATCH = {"cpu": 4_096, "cuda": 65_536}


@backend("torch")
class Torch:
    """See `Backend`."""

    def best_device(self) -> str:
        """A GPU if torch has one."""
        import torch

        return "cuda:0" if torch.cuda.is_available() else "cpu"

    def computes_in(self, card: EncoderCard, precision: Precision, device: str) -> Precision:
        """See `Backend`."""
        import torch

        names: dict[torch.dtype, Precision] = {torch.float16: "fp16", torch.bfloat16: "bf16"}
        return names.get(compute_type(precision, device), "fp32")

    def lacks(self, card: EncoderCard, precision: Precision) -> str:
        """Nothing: this package requires torch."""
        return ""

    def load(self, card: EncoderCard, precision: Precision, device: str) -> TorchModel:
        """See `Backend`."""
        import torch

        from pyserini_tasb.models.bert_dot import load_bert_dot
        from pyserini_tasb.models.kinds import require_bi_encoder

        # torch itself follows the affinity, but not the control group. What the user has lowered stays.
        if threads() < torch.get_num_threads():
            torch.set_num_threads(threads())
        folder = find_checkpoint(card.model, allow_bin=card.allow_bin)
        require_bi_encoder(folder, pooling=card.pooling)
        module = load_bert_dot(
            folder,
            pooling=card.pooling,
            normalise=card.normalise,
            precision=compute_type(precision, device),
            allow_bin=card.allow_bin,
        )
        return TorchModel(folder, module.to(device), device)


class TorchModel:
    """See `Model`.

    Args:
        folder: of the model.
        module: the model.
        device: that it is on.
    """

    def __init__(self, folder: Path, module: BertDot, device: str) -> None:
        import torch

        self._folder, self.module, self._device = folder, module, device
        self.dimension = module.dimension
        positions = getattr(module.transformer.config, "max_position_embeddings", None)
        self.longest = int(positions) if positions else None
        self.tokens_per_batch = TOKENS_PER_BATCH[torch.device(device).type]

    def tokenizer(self, given: str | None) -> HuggingFaceTokenizer:
        """See `Model`."""
        from pyserini_tasb.models.tokenizers import require_vocabulary

        name = given or str(self._folder)
        tokenizer = HuggingFaceTokenizer(name)
        require_vocabulary(tokenizer.hugging_face, self.module.transformer, name)
        require_pooled_token(tokenizer, self.module.pooling, name)
        return tokenizer

    def vectors(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `Model`."""
        import torch

        with torch.inference_mode():
            on_device = (torch.from_numpy(array).to(self._device) for array in (ids, mask))
            vectors: NDArray[np.float32] = self.module(*on_device).cpu().numpy()
        return vectors
