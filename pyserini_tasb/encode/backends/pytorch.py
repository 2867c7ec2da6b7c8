"""PyTorch: fp32, bf16 where the hardware multiplies it, fp16 on GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserini_tasb.encode.backends.machine import threads
from pyserini_tasb.encode.backends.registry import backend
from pyserini_tasb.encode.backends.tokenizers import HuggingFaceTokenizer, require_pooled_token
from pyserini_tasb.encode.precision import compute_type
from pyserini_tasb.model.checkpoint import find_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from pyserini_tasb.encode.precision import Precision
    from pyserini_tasb.model.bert_dot import BertDot
    from pyserini_tasb.recipes import EncoderCard

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

        from pyserini_tasb.model.bert_dot import load_bert_dot
        from pyserini_tasb.model.kind import require_bi_encoder

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
        from pyserini_tasb.model.tokenizer import require_vocabulary

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
