"""Which back end computes a card's vectors, and in which precision."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, get_args

from pyserini_tasb.encoding import onnx_runtime  # noqa: F401 - registers `onnx`
from pyserini_tasb.environment.processor import cpu_has_amx
from pyserini_tasb.errors import TasbError
from pyserini_tasb.models import backends  # noqa: F401 - registers `torch`
from pyserini_tasb.models.backends import ACCURACY, BACKENDS
from pyserini_tasb.models.checkpoints import find_checkpoint
from pyserini_tasb.models.onnx import is_exported
from pyserini_tasb.models.sentence_transformers_folder import contradiction
from pyserini_tasb.recipes.types import Backend, EncoderCard

if TYPE_CHECKING:
    from pathlib import Path

    from pyserini_tasb.models.backends import Model
    from pyserini_tasb.recipes.types import Precision


BACKEND_VARIABLE = "PYSERINI_TASB_BACKEND"
Ways = tuple[tuple[str, "Precision"], ...]
# Fastest first, as benchmarks/encode.py and benchmarks/query_latency.py measure them. No GPU was there to measure.
FASTEST: Ways = (("onnx", "int8"), ("torch", "bf16"), ("torch", "fp32"))
FASTEST_WITH_AMX: Ways = (("torch", "bf16"), ("onnx", "int8"), ("torch", "fp32"))
# With one short text, what surrounds the multiplications counts: ONNX Runtime has less of it.
FASTEST_ONE_BY_ONE: Ways = (("onnx", "int8"), ("onnx", "fp32"), ("torch", "bf16"), ("torch", "fp32"))
FASTEST_ON_GPUS: Ways = (("torch", "bf16"), ("torch", "fp16"), ("torch", "fp32"))

_said: set[str] = set()


class Models:
    """A card's models, each loaded when it is first asked for.

    Args:
        card: which model.
        device: `cpu`, `cuda:0`, …; None: a GPU if there is one.
        backend: instead of the environment's (PYSERINI_TASB_BACKEND), which goes before the card's.
        one_by_one: texts will come singly, and are short: `auto` looks at latency.

    Raises:
        TasbError: no such back end, or no such model.
    """

    def __init__(
        self, card: EncoderCard, device: str | None, backend: Backend | None = None, *, one_by_one: bool = False
    ) -> None:
        folder = find_checkpoint(card.model, allow_bin=card.allow_bin)
        self._card, self._backend = card, _asked(card, backend, folder)
        other_vectors = contradiction(card, folder)
        if other_vectors:
            _say(f"note: {other_vectors}")
        self.device = device or BACKENDS["torch" if self._backend == "auto" else self._backend].best_device()
        self._fastest = _fastest(self.device.partition(":")[0], one_by_one=one_by_one)
        self._chosen: dict[Precision, Model] = {}
        self._loaded: dict[tuple[str, Precision], Model] = {}

    def at(self, precision: Precision) -> Model:
        """The model that computes at this precision or better.

        Raises:
            TasbError: the model is not here and cannot be had, is of another kind, or cannot be exported.
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
        computed = BACKENDS[self._backend].computes_in(self._card, precision, self.device)
        if computed != precision:
            _say(f"encoding with {self._backend} in {computed}, its fastest here for precision {precision}")
        return self._load(self._backend, computed)

    def _fastest_model(self, precision: Precision) -> Model:
        passed_over: list[str] = []
        for name, computed in self._fastest:
            if ACCURACY[computed] < ACCURACY[precision]:
                continue
            reason = self._reason_against(name, computed)
            if not reason:
                try:
                    model = self._load(name, computed)
                except TasbError as error:
                    if (name, computed) == self._fastest[-1]:
                        raise
                    reason = error.found.partition("\n")[0]
                else:
                    why = "".join(f"; not {passed}" for passed in passed_over)
                    _say(f"encoding with {name} in {computed}, the fastest here for precision {precision}{why}")
                    return model
            passed_over.append(f"{name} in {computed} ({reason})")
        raise AssertionError("torch computes in fp32 everywhere")

    def _reason_against(self, name: str, computed: Precision) -> str:
        if BACKENDS[name].computes_in(self._card, computed, self.device) != computed:
            return f"no fast {computed} on this hardware"
        lacks = BACKENDS[name].lacks(self._card, computed)
        return f"no {lacks}: pip install 'pyserini-tasb[onnx]'" if lacks else ""

    def _load(self, name: str, computed: Precision) -> Model:
        key = (name, computed)
        if key not in self._loaded:
            self._loaded[key] = BACKENDS[name].load(self._card, computed, self.device)
        return self._loaded[key]


def _fastest(kind: str, *, one_by_one: bool) -> Ways:
    if kind == "cuda":
        return FASTEST_ON_GPUS
    if kind != "cpu":
        return (("torch", "fp32"),)
    if one_by_one:
        return FASTEST_ONE_BY_ONE
    return FASTEST_WITH_AMX if cpu_has_amx() else FASTEST


def _asked(card: EncoderCard, backend: Backend | None, folder: Path) -> str:
    asked = backend or os.environ.get(BACKEND_VARIABLE) or card.backend
    if asked not in get_args(Backend):
        raise TasbError(
            expected=f"one of {', '.join(get_args(Backend))} as back end",
            found=f"`{asked}`",
            do=f"set {BACKEND_VARIABLE} to one of them, or to nothing",
        )
    # An exported folder holds nothing that torch could load.
    return "onnx" if is_exported(folder) else asked


def _say(choice: str) -> None:
    """Say it on stderr, once in a process."""
    if choice not in _said:
        _said.add(choice)
        print(f"pyserini-tasb: {choice}", file=sys.stderr)
