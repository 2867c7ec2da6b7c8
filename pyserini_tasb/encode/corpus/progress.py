"""How encoding goes, on stderr: passages a second, time left, share of padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from tqdm import tqdm

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


@dataclass(frozen=True)
class EncodedBatch:
    """What the model has done.

    Args:
        passages: in the batch.
        tokens: of them.
        tokens_with_padding: what the model computed.
    """

    passages: int
    tokens: int
    tokens_with_padding: int


@dataclass(frozen=True)
class Supervisor:
    """Whom the work is for.

    Args:
        report: is told of every batch.
        stopped: asked before every batch; if it says so, the unit at hand is given up.
    """

    report: Callable[[EncodedBatch], None]
    stopped: Callable[[], bool]


class EncodingProgress:
    """A bar; a context manager.

    Args:
        done: passages encoded by earlier tries.
        total: passages.
    """

    def __init__(self, done: int, total: int) -> None:
        self.passages = self._tokens = self._tokens_with_padding = 0
        self._bar = tqdm(total=total, initial=done, desc="encoding", unit=" passages", smoothing=0.05)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.close()

    def add(self, batch: EncodedBatch) -> None:
        """Show that a batch is encoded."""
        self.passages += batch.passages
        self._tokens += batch.tokens
        self._tokens_with_padding += batch.tokens_with_padding
        self._bar.set_postfix_str(f"{self.padding:.1%} padding", refresh=False)
        self._bar.update(batch.passages)

    @property
    def padding(self) -> float:
        """The share of what the model computed that was padding."""
        return 1 - self._tokens / max(1, self._tokens_with_padding)
