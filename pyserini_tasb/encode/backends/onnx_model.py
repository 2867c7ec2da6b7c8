"""A folder of `tasb export` in ONNX Runtime; torch is not imported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.encode.backends.onnx_folder import read_about, require_whole
from pyserini_tasb.encode.backends.onnx_graph import OnnxGraph
from pyserini_tasb.encode.backends.tokenizers import (
    TOKENIZER,
    FileTokenizer,
    HuggingFaceTokenizer,
    require_pooled_token,
)
from pyserini_tasb.errors import TasbError
from pyserini_tasb.model.checkpoint import EXPORTED_WEIGHTS

if TYPE_CHECKING:
    from pyserini_tasb.encode.backends.model import TextTokenizer


class OnnxModel:
    """See `Model`.

    Args:
        folder: that `tasb export` wrote.
        device: `cpu`, `cuda:0`, …

    Raises:
        TasbError: damaged files, or a GPU that this ONNX Runtime cannot use.
    """

    def __init__(self, folder: Path, device: str) -> None:
        require_whole(folder)
        self._folder, self._about = folder, read_about(folder)
        self._graph = OnnxGraph(folder / EXPORTED_WEIGHTS, device)
        self.dimension, self.longest = self._about.dimension, self._about.longest
        self.tokens_per_batch = self._graph.tokens_per_batch
        self.vectors = self._graph.vectors

    def tokenizer(self, given: str | None) -> TextTokenizer:
        """See `Model`."""
        folder = Path(given).expanduser() if given else self._folder
        tokenizer: FileTokenizer | HuggingFaceTokenizer
        if (folder / TOKENIZER).is_file():
            tokenizer = FileTokenizer(folder, self._about.pad_id)
            self._require_room(tokenizer.words, folder)
        else:
            tokenizer = HuggingFaceTokenizer(str(folder))
            self._require_room(len(tokenizer.hugging_face), folder)
        require_pooled_token(tokenizer, self._about.pooling, str(folder))
        return tokenizer

    def _require_room(self, words: int, where: Path) -> None:
        if words > self._about.vocabulary:
            raise TasbError(
                where=str(where),
                expected=f"a tokenizer of at most {self._about.vocabulary} tokens, as many as the model has embeddings",
                found=f"one of {words}",
                do="check that tokenizer and weights come from the same model",
            )
