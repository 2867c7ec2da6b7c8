"""The back ends by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyserini_tasb.encode.backends.model import Model
    from pyserini_tasb.encode.precision import Precision
    from pyserini_tasb.recipes import EncoderCard


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
