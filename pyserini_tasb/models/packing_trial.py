"""A trial of packed texts before they are relied on: does a transformer compute for them what it does with padding?

Tests run on CPUs, and kernels depend on the GPU and on the version of PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from pyserini_tasb.models.packing import packs_texts

if TYPE_CHECKING:
    from collections.abc import Iterable


# Tokens of the texts of a trial: around the sizes of blocks in which attention is computed.
TRIED = (3, 130, 1, 64, 65, 17)
# A packed result may be this many times as far from fp32's as the padded one is.
TIMES_AS_FAR = 4


class Trial:
    """Some texts, and a transformer that computes their outputs in several ways.

    Args:
        transformer: a BERT or a DistilBERT.
        compute: the type in which matrices are multiplied.
        gradients: compute those too.
    """

    def __init__(self, transformer: Any, compute: torch.dtype, *, gradients: bool) -> None:
        config = transformer.config
        lengths = torch.tensor(TRIED).clamp_(max=config.max_position_embeddings)
        self._mask = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
        random = torch.Generator().manual_seed(0)
        self._ids = torch.randint(config.vocab_size, self._mask.shape, generator=random) * self._mask
        self._direction = torch.randn(config.hidden_size, generator=random).to(transformer.device)
        self._transformer, self._compute, self._gradients = transformer, compute, gradients

    def outputs(self, compute: torch.dtype) -> dict[str, torch.Tensor]:
        """A name → each text's vectors, and each weight's gradient, computed without dropout."""
        training = self._transformer.training
        self._transformer.eval()
        try:
            with torch.set_grad_enabled(self._gradients):
                return self._outputs(compute)
        finally:
            self._transformer.train(training)

    def _outputs(self, compute: torch.dtype) -> dict[str, torch.Tensor]:
        device, weights = self._transformer.device, dict(self._transformer.named_parameters())
        if compute is torch.float32:
            weights = {name: weight.float() for name, weight in weights.items()}
        inputs = {"input_ids": self._ids, "attention_mask": self._mask}
        if not packs_texts(self._transformer):  # which copies them itself
            inputs = {name: values.to(device) for name, values in inputs.items()}
        # Only for weights in fp32: those of inference are in the type that is computed in.
        with torch.autocast(device.type, compute, enabled=self._gradients and compute is not torch.float32):
            called = torch.func.functional_call(self._transformer, weights, (), inputs)
            tokens = called.last_hidden_state.float()
        mask = self._mask.to(device)[
            :, : tokens.shape[1]
        ]  # the first token's alone where the last layer computes no other
        found = {
            f"text {number}": vectors[seen.bool()]
            for number, (vectors, seen) in enumerate(zip(tokens, mask, strict=True), 1)
        }
        if self._gradients:
            trained = {name: weight for name, weight in weights.items() if weight.requires_grad}
            total = (torch.cat(list(found.values())) @ self._direction).sum()
            gradients = torch.autograd.grad(total, list(trained.values()), allow_unused=True)
            found |= {
                f"gradient of {name}": gradient
                for name, gradient in zip(trained, gradients, strict=True)
                if gradient is not None
            }
        return {name: output.detach() for name, output in found.items()}

    def fault(
        self,
        exact: dict[str, torch.Tensor],
        padded: dict[str, torch.Tensor],
        packed: dict[str, torch.Tensor],
    ) -> str:
        """A difference that is larger than the number format explains, in words; empty if there is none.

        Rounding moves what is computed with padding away from fp32. It may move packed texts a few times as far.

        Args:
            exact: the outputs in fp32, with padding.
            padded: the outputs in the number format, with padding.
            packed: the outputs in the number format, of packed texts.
        """
        kinds = ("text", "gradient")
        largest = {kind: _largest(output for name, output in exact.items() if name.startswith(kind)) for kind in kinds}
        rounding = torch.finfo(self._compute).eps / 2
        for name, expected in exact.items():
            size, usual, found = (
                float(torch.linalg.vector_norm(output.float()))
                for output in (expected, padded[name] - expected, packed[name] - expected)
            )
            # A gradient may be 0 but for rounding, as that of the keys' bias is: then others tell what rounding is.
            allowed = TIMES_AS_FAR * max(usual, rounding * size, rounding**2 * largest[name.partition(" ")[0]])
            if not found <= allowed:  # not a number is more, too
                return f"{name} of a trial is {found / max(size, allowed):.1%} off"
        return ""


def _largest(outputs: Iterable[torch.Tensor]) -> float:
    return max((float(torch.linalg.vector_norm(output)) for output in outputs), default=0.0)
