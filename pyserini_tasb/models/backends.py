"""The back ends that compute vectors: the choice of one for a card, its number format, and the back end for PyTorch.

ONNX Runtime's part is `encoding.onnx_runtime`, since it exports models.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pyserini_tasb.environment.processor import cpu_has_amx, require_device, threads
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.models.checkpoints import find_checkpoint, is_exported, require_bi_encoder
from pyserini_tasb.models.queues import TorchQueue
from pyserini_tasb.models.sentence_transformers_folder import contradiction
from pyserini_tasb.models.tokenizers import HuggingFaceTokenizer, require_pooled_token, require_vocabulary
from pyserini_tasb.registry import Registry, registry_of

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from pyserini_tasb.models.bert_dot import BertDot
    from pyserini_tasb.models.tokenizers import TextTokenizer
    from pyserini_tasb.recipes.types import EncoderCard, Precision


LOG = logging.getLogger(__name__)

BACKEND_VARIABLE = "PYSERINI_TASB_BACKEND"
# Larger is more accurate. `auto` stops at bf16, which loses little whatever the model; what int8 loses is the model's.
ACCURACY: dict[Precision, int] = {"int8": 0, "bf16": 1, "auto": 1, "fp16": 2, "fp32": 3}
Ways = tuple[tuple[str, "Precision"], ...]
# Fastest first, as benchmarks/encode.py and benchmarks/query_latency.py measure them. No GPU was there to measure.
FASTEST: Ways = (("onnx", "int8"), ("torch", "bf16"), ("torch", "fp32"))
FASTEST_WITH_AMX: Ways = (("torch", "bf16"), ("onnx", "int8"), ("torch", "fp32"))
# With one short text, what surrounds the multiplications counts: ONNX Runtime has less of it.
FASTEST_ONE_BY_ONE: Ways = (("onnx", "int8"), ("onnx", "fp32"), ("torch", "bf16"), ("torch", "fp32"))
FASTEST_ON_GPUS: Ways = (("torch", "bf16"), ("torch", "fp16"), ("torch", "fp32"))
Texts = Literal["queries", "passages", "queries and passages"]


class Models:
    """A card's models. Each is loaded when it is first needed.

    Args:
        card: the encoder card.
        device: `cpu`, `cuda:0`, …; None is a GPU if one exists.
        backend: the back end, instead of the card's and of the environment's (PYSERINI_TASB_BACKEND).
        texts: the kind of texts to encode. For `queries`, which are short and come one at a time, `auto` minimises
            latency.

    Raises:
        TasbError: the back end or the model does not exist.
    """

    def __init__(
        self, card: EncoderCard, device: str | None, backend: str | None = None, *, texts: Texts = "passages"
    ) -> None:
        folder = find_checkpoint(card.model, allow_bin=card.allow_bin)
        self._card = card
        self._backend, self._reason = _asked_backend(card, backend, folder)
        if self._backend != "torch":
            registry_of("back-ends")  # with ONNX Runtime
        other_vectors = contradiction(card, folder)
        if other_vectors:
            _log_once(logging.WARNING, other_vectors)
        self.device = device or BACKENDS["torch" if self._backend == "auto" else self._backend].best_device()
        self._ways = _ways(self.device.partition(":")[0], one_by_one=texts == "queries")
        self._texts = texts
        self._chosen: dict[Precision, Model] = {}
        self._loaded: dict[tuple[str, Precision], Model] = {}

    def at(self, precision: Precision) -> Model:
        """The model that computes at this precision or better.

        Raises:
            TasbError: the model is not on this machine and cannot be downloaded, is of another kind, or cannot be
                exported.
        """
        if precision not in self._chosen:
            choose = self._fastest_model if self._backend == "auto" else self._asked_model
            self._chosen[precision] = choose(precision)
        return self._chosen[precision]

    def name(self, precision: Precision) -> str:
        """Back end and number format that compute at this precision, such as `onnx fp32`."""
        model = self.at(precision)
        return next(" ".join(name) for name, loaded in self._loaded.items() if loaded is model)

    def _asked_model(self, precision: Precision) -> Model:
        computed = BACKENDS[self._backend].computes_in(self._card, precision, self.device, self._texts)
        model = self._load(self._backend, computed)
        why = f"its fastest on this machine for precision {precision}; {self._reason}"
        _log_once(logging.INFO, f"encoding {self._texts} with {self._backend} in {computed}, {why}")
        return model

    def _fastest_model(self, precision: Precision) -> Model:
        passed_over: list[str] = []
        for name, computed in self._ways:
            if ACCURACY[computed] < ACCURACY[precision]:
                continue
            try:
                reason = self._reason_against(name, computed)
                model = None if reason else self._load(name, computed)
            except TasbError as error:
                if (name, computed) == self._ways[-1]:
                    raise
                reason, model = error.found.partition("\n")[0], None
            if model is not None:
                why = "".join(f"; not {passed}" for passed in passed_over)
                fastest = f"the fastest on this machine for precision {precision}"
                said = f"encoding {self._texts} with {name} in {computed}, {fastest}"
                _log_once(logging.INFO, said + why)
                return model
            passed_over.append(f"{name} in {computed} ({reason})")
        raise AssertionError("torch computes in fp32 everywhere")

    def _reason_against(self, name: str, computed: Precision) -> str:
        lacks = BACKENDS[name].lacks(self._card, computed)
        if lacks:
            return f"no {lacks}: pip install 'pyserini-tasb[onnx]'"
        fast = BACKENDS[name].computes_in(self._card, computed, self.device, self._texts) == computed
        return "" if fast else f"no fast {computed} on this hardware"

    def _load(self, name: str, computed: Precision) -> Model:
        key = (name, computed)
        if key not in self._loaded:
            self._loaded[key] = BACKENDS[name].load(self._card, computed, self.device)
        return self._loaded[key]


def _ways(kind: str, *, one_by_one: bool) -> Ways:
    if kind == "cuda":
        return FASTEST_ON_GPUS
    if kind != "cpu":
        return (("torch", "fp32"),)
    if one_by_one:
        return FASTEST_ONE_BY_ONE
    return FASTEST_WITH_AMX if cpu_has_amx() else FASTEST


def _asked_backend(card: EncoderCard, backend: str | None, folder: Path) -> tuple[str, str]:
    """The back end, and the reason for it; `auto` will give a reason of its own."""
    if backend is not None:
        asked = checked_backend(backend, f"{argument('backend', backend)}")
        reason = f"you ask for {asked}"
    elif in_environment := os.environ.get(BACKEND_VARIABLE):
        asked = checked_backend(in_environment, f"the variable {BACKEND_VARIABLE}")
        reason = f"{BACKEND_VARIABLE} asks for {asked}"
    else:
        asked = card.backend
        reason = f"the card asks for {asked}" if "backend" in card.model_fields_set else f"{asked} is the default"
    # An exported folder holds nothing that torch could load.
    return ("onnx", "the model is exported to ONNX") if is_exported(folder) else (asked, reason)


def checked_backend(name: str, where: str) -> str:
    """The name of a back end as other processes find it, `auto` included.

    Args:
        name: the name, as the user gives it.
        where: it stands, for messages.

    Raises:
        TasbError: there is none of that name.
    """
    if name == "torch":
        return name
    known = registry_of("back-ends")  # with ONNX Runtime, which stands above this room and brings pydantic
    names = ("auto", *known)
    if name not in names and ":" not in name:
        raise TasbError(
            where=where,
            expected=f"one of {', '.join(names)} as back end",
            found=f"`{name}`",
            do="choose one of them, or leave it out",
        )
    return name if name == "auto" else known.reference(name)


_logged: set[str] = set()


def _log_once(level: int, message: str) -> None:
    """Log a message once in a process."""
    if message not in _logged:
        _logged.add(message)
        LOG.log(level, "%s", message)


class Backend(Protocol):
    """A library that computes vectors."""

    def best_device(self) -> str:
        """A GPU if the library has one, else the CPU."""

    def computes_in(self, card: EncoderCard, precision: Precision, device: str, texts: Texts) -> Precision:
        """The fastest format for such texts on this machine that is at least as accurate as `precision`; never `auto`.

        Raises:
            TasbError: the format must be measured, and the measurement fails.
        """

    def lacks(self, card: EncoderCard, precision: Precision) -> str:
        """The packages that are missing to load the card's model; empty if none is."""

    def load(self, card: EncoderCard, precision: Precision, device: str) -> Model:
        """The card's model, in a precision that `computes_in` gave.

        Raises:
            TasbError: the model is not on this machine and cannot be downloaded, or is not a bi-encoder.
        """


def _made(_name: str, backend: Any) -> Backend:
    made: Backend = backend() if isinstance(backend, type) else backend
    return made


# ONNX Runtime adds its own in `encoding.onnx_runtime`.
BACKENDS: Registry[Backend] = Registry("back end", "back-ends", prepared=_made)


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
        """The number of tokens to give it at once, with padding: enough to keep the hardware busy."""

    def tokenizer(self, given: str | None) -> TextTokenizer:
        """The model's tokenizer, or the one in the folder (or of the hub id) `given`.

        Raises:
            TasbError: the tokenizer has no vocabulary, or more tokens than the model.
        """

    def vectors(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors [texts, dimension] of token ids and mask [texts, tokens], padded on the right."""


# Enough to keep the hardware busy, small enough that texts of one batch are of one length.
TOKENS_PER_BATCH = {"cpu": 4_096, "cuda": 65_536}


@BACKENDS.register("torch")
class Torch:
    """PyTorch: fp32, bf16 where the hardware computes in it, fp16 on GPUs."""

    def best_device(self) -> str:
        """A GPU if torch has one."""
        import torch

        return "cuda:0" if torch.cuda.is_available() else "cpu"

    def computes_in(self, card: EncoderCard, precision: Precision, device: str, texts: Texts) -> Precision:
        """Its fastest format, as `Backend` says."""
        import torch

        names: dict[torch.dtype, Precision] = {torch.float16: "fp16", torch.bfloat16: "bf16"}
        return names.get(compute_type(precision, device), "fp32")

    def lacks(self, card: EncoderCard, precision: Precision) -> str:
        """Nothing: this package requires torch."""
        return ""

    def load(self, card: EncoderCard, precision: Precision, device: str) -> TorchModel:
        """The card's model, as `Backend` says."""
        import torch

        from pyserini_tasb.models.bert_dot import load_bert_dot
        from pyserini_tasb.models.on_gpu import prepare_for_gpu

        # torch itself follows the affinity, but not the control group. What the user has lowered stays.
        if threads() < torch.get_num_threads():
            torch.set_num_threads(threads())
        folder = find_checkpoint(card.model, allow_bin=card.allow_bin)
        require_bi_encoder(folder, pooling=card.pooling)
        kind = compute_type(precision, device)
        module = load_bert_dot(
            folder, pooling=card.pooling, normalise=card.normalise, precision=kind, allow_bin=card.allow_bin
        ).to(device)
        prepare_for_gpu(module.transformer, kind)
        return TorchModel(folder, module, device)


class TorchModel:
    """A `Model` of PyTorch.

    Args:
        folder: the folder of the model.
        module: the model.
        device: the device of the model.
    """

    def __init__(self, folder: Path, module: BertDot, device: str) -> None:
        import torch

        from pyserini_tasb.models.on_gpu import device_of_inputs

        self._folder, self.module, self._device = folder, module, device
        self._inputs = device_of_inputs(module.transformer, device)
        self.dimension = module.dimension
        positions = getattr(module.transformer.config, "max_position_embeddings", None)
        self.longest = int(positions) if positions and positions > 0 else None
        self.tokens_per_batch = TOKENS_PER_BATCH[torch.device(device).type]

    def tokenizer(self, given: str | None) -> HuggingFaceTokenizer:
        """The model's tokenizer, as `Model` says."""
        name = given or str(self._folder)
        tokenizer = HuggingFaceTokenizer(name)
        require_vocabulary(tokenizer.hugging_face, self.module.transformer, name)
        require_pooled_token(tokenizer, self.module.pooling, name)
        return tokenizer

    def vectors(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors [texts, dimension], as `Model` says."""
        import torch

        with torch.inference_mode():
            on_device = (torch.from_numpy(array).to(self._inputs) for array in (ids, mask))
            vectors: NDArray[np.float32] = self.module(*on_device).cpu().numpy()
        return vectors

    def queue(self, pad_id: int) -> TorchQueue | None:
        """Where batches are handed over to a GPU; None on a CPU, which has nothing else to do meanwhile."""
        from pyserini_tasb.models.packing import packs_texts

        if not self._device.startswith("cuda"):
            return None
        return TorchQueue(self.module, self._device, pad_id, packs=packs_texts(self.module.transformer))


def reduced(precision: Precision) -> Precision:
    """A card's precision under Pyserini's `--fp16`: bf16, unless the card asks for less already."""
    return "bf16" if ACCURACY[precision] > ACCURACY["bf16"] else precision


def compute_type(precision: Precision, device: str) -> torch.dtype:
    """The torch type for `precision` on `device`: fp32 where the hardware has no fast type that is accurate enough.

    torch multiplies no int8 here; bf16 takes its place. On a GPU without bf16 (before Ampere), fp16 does.
    """
    import torch

    require_device(device)
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
    """True if this CPU multiplies bf16 matrices itself (AVX512-BF16 or AMX) rather than by conversion."""
    import torch

    # torch before 2.11 or so cannot tell; fp32 is right everywhere.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))
