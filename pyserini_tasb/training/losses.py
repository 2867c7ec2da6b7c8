"""All losses: pairwise, in batch, and both together (paper, Section 2.3)."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from pyserini_tasb.errors import TasbError
from pyserini_tasb.registry import Registry, require_callable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True)
class InBatchScores:
    """Scores of b queries with the b positives and the b negatives of their batch, or with n negatives of each query.

    Attributes:
        positives: [b, b], row i and column j: s(q_i, p_j+). The diagonal holds the queries' own positives.
        negatives: [b, b], s(q_i, p_j-). The diagonal holds their own negatives. With n negatives of each query,
            [b, b·n]: columns j·n to j·n + n - 1 are query j's.

    Raises:
        ValueError: another shape.
    """

    positives: Tensor
    negatives: Tensor

    def __post_init__(self) -> None:
        _require_squares(self.positives, self.negatives)

    @classmethod
    def of_vectors(cls, queries: Tensor, positives: Tensor, negatives: Tensor) -> InBatchScores:
        """Dot products of vectors, each side [b, dimension]; negatives [b·n, dimension]."""
        return cls(queries @ positives.T, queries @ negatives.T)

    @property
    def size(self) -> int:
        """b, the number of queries."""
        return len(self.positives)

    def to(self, precision: torch.dtype) -> InBatchScores:
        """The same in another floating-point type."""
        return InBatchScores(self.positives.to(precision), self.negatives.to(precision))

    def detach(self) -> InBatchScores:
        """The same without gradients."""
        return InBatchScores(self.positives.detach(), self.negatives.detach())

    def margins(self) -> InBatchScores:
        """The margins s(q_i, p_i+) - s(q_i, p_j) of each passage to the query's own positive, for both blocks."""
        own = self.positives.diagonal().unsqueeze(1)
        return InBatchScores(own - self.positives, own - self.negatives)

    def lists(self) -> Tensor:
        """One list a query, [b, b + b·n]: all positives, then all negatives."""
        return torch.cat([self.positives, self.negatives], dim=1)


@dataclass(frozen=True)
class KnownPositives:
    """The passages of a batch that are known to be relevant to its queries. They must not count as negatives.

    Attributes:
        positives: bool [b, b], True where p_j+ is known relevant to q_i. Its diagonal, the own positives, is not read.
        negatives: bool [b, b·n], True where p_j- is. With one negative a query, the diagonal is True for a query whose
            own negative is relevant.

    Raises:
        ValueError: another shape or type.
    """

    positives: Tensor
    negatives: Tensor

    def __post_init__(self) -> None:
        _require_squares(self.positives, self.negatives)
        if {self.positives.dtype, self.negatives.dtype} != {torch.bool}:
            raise ValueError(f"expected bool masks, found {self.positives.dtype} and {self.negatives.dtype}")

    @classmethod
    def none(cls, size: int, device: torch.device | str = "cpu", *, negatives: int = 1) -> KnownPositives:
        """Masks for a batch of `size` queries, each with `negatives`, in which nothing more is known."""
        empty = torch.zeros(size, size, dtype=torch.bool, device=device)
        return cls(empty, empty.repeat(1, negatives))

    @property
    def size(self) -> int:
        """b, the number of queries."""
        return len(self.positives)

    def other_passages(self) -> tuple[Tensor, Tensor]:
        """Two blocks, bool [b, b] and [b, b·n]: True where passage j is another query's and not known relevant to i."""
        others = ~torch.eye(self.size, dtype=torch.bool, device=self.positives.device)
        others_of_each = others.repeat_interleave(self.negatives.shape[1] // max(self.size, 1), dim=1)
        return others & ~self.positives, others_of_each & ~self.negatives

    def lists(self) -> Tensor:
        """Masks [b, b + b·n], True for what leaves a query's list (`InBatchScores.lists`); never the own positive."""
        own = torch.eye(self.size, dtype=torch.bool, device=self.positives.device)
        return torch.cat([self.positives & ~own, self.negatives], dim=1)


def _require_squares(positives: Tensor, negatives: Tensor) -> None:
    size = len(positives) if positives.ndim else 0
    several = negatives.ndim == 2 and len(negatives) == size and negatives.shape[1] % max(size, 1) == 0
    if positives.shape != (size, size) or not several or (size and not negatives.numel()):
        raise ValueError(
            f"expected two matrices [b, b], the second one also [b, b·n], found {tuple(positives.shape)} and "
            f"{tuple(negatives.shape)}"
        )


# The two axes of losses, and what every loss gets: full precision, checked shapes, a teacher without gradient.


class PairwiseLoss:
    """A loss on b positives and their negatives, guarded.

    Args:
        name: the loss's name, for messages.
        loss: (student's scores of the positives [b], of the negatives [b], teacher's margins [b]) → scalar; a function,
            or a class that makes one. Where the margins have a default, the loss can do without them. It is given
            tensors of one shape and one type, fp64 or fp32. With n > 1 negatives of each query, all three are [b, n],
            and a row has the same positive n times. A loss with a keyword argument `ranks` can have a curriculum.

    Attributes:
        needs_margins: false for a loss that can do without a teacher's margins.
        takes_ranks: true for a loss that can have a curriculum.
    """

    def __init__(self, name: str, loss: Callable[..., Tensor]) -> None:
        self._name, self._loss = name, _made(loss)
        require_callable("pairwise loss", name, self._loss, ("positives", "negatives", "margins"))
        parameters = _parameters(self._loss)
        self.needs_margins = len(parameters) < 3 or parameters[2].default is inspect.Parameter.empty
        self.takes_ranks = any(parameter.name == "ranks" for parameter in parameters[3:])

    def __call__(
        self, positives: Tensor, negatives: Tensor, margins: Tensor | None = None, *, ranks: int | None = None
    ) -> Tensor:
        """The loss, a scalar.

        Args:
            positives: [b] or [b, n] student's scores.
            negatives: likewise.
            margins: likewise, the teacher's.
            ranks: the number of the teacher's ranks to learn, for a loss that can have a curriculum; None is all.

        Raises:
            TasbError: there are no margins, and the loss needs them.
        """
        if margins is None and self.needs_margins:
            raise TasbError(
                expected=f"teacher scores or margins for the loss `{self._name}`",
                found="pairs with labels only",
                do="train with the loss `ranknet`, or score the pairs with a teacher first",
            )
        given = [positives, negatives, *([] if margins is None else [margins])]
        if len({tensor.shape for tensor in given}) > 1 or positives.ndim not in (1, 2):
            # [b, 1] against [b] would broadcast to [b, b] and train on nonsense.
            raise ValueError(f"{self._name}: expected vectors of one length, found {[tuple(t.shape) for t in given]}")
        precision = _precision(positives)
        options = {} if ranks is None else {"ranks": ranks}
        with torch.autocast(positives.device.type, enabled=False):
            scores = (positives.to(precision), negatives.to(precision))
            of_teacher = () if margins is None else (margins.detach().to(precision),)
            loss = self._loss(*scores, *of_teacher, **options)
        return _scalar(self._name, loss)


class InBatchLoss:
    """A loss on all scores of a batch, guarded.

    Args:
        name: the loss's name, for messages.
        loss: (student's `InBatchScores`, teacher's, `KnownPositives`) → scalar; a function, or a class that makes one.
            It is given matrices of one size and one type, fp64 or fp32. A loss of two arguments, the student's scores
            and the known positives, needs no teacher. A loss with a keyword argument `temperature` has a temperature.

    Attributes:
        needs_teacher: false for a loss of two arguments.
        takes_temperature: true for a loss with a temperature.
    """

    def __init__(self, name: str, loss: Callable[..., Tensor]) -> None:
        self._name, self._loss = name, _made(loss)
        names = [parameter.name for parameter in _parameters(self._loss)]
        self.takes_temperature = "temperature" in names
        self.needs_teacher = len(names) - self.takes_temperature != len(WITHOUT_TEACHER)
        require_callable("in-batch loss", name, self._loss, WITH_TEACHER if self.needs_teacher else WITHOUT_TEACHER)

    def __call__(
        self,
        student: InBatchScores,
        teacher: InBatchScores | None,
        known: KnownPositives,
        *,
        temperature: float | None = None,
    ) -> Tensor:
        """The loss, a scalar.

        Args:
            student: the student's scores.
            teacher: the teacher's. A loss that needs none does not read them.
            known: the passages that are known to be relevant.
            temperature: the temperature of a loss that has one; None is the loss's own.

        Raises:
            TasbError: there are no teacher's scores, and the loss needs them.
        """
        given: list[InBatchScores | KnownPositives] = [student, *([] if teacher is None else [teacher]), known]
        if len({each.negatives.shape for each in given}) > 1:
            sizes = [each.size for each in given]
            shapes = "" if len(set(sizes)) > 1 else f" with negatives {[tuple(each.negatives.shape) for each in given]}"
            raise ValueError(
                f"{self._name}: expected one batch size of student, teacher and masks, found {sizes}{shapes}"
            )
        if teacher is None and self.needs_teacher:
            raise TasbError(
                expected=f"a teacher's scores of the batch for the loss `{self._name}`",
                found="none",
                do="name a teacher, or train with the loss `infonce`",
            )
        precision = _precision(student.positives)
        options = {} if temperature is None else {"temperature": temperature}
        with torch.autocast(student.positives.device.type, enabled=False):
            scores = student.to(precision)
            if teacher is None or not self.needs_teacher:
                loss = self._loss(scores, known, **options)
            else:
                loss = self._loss(scores, teacher.detach().to(precision), known, **options)
        return _scalar(self._name, loss)


WITH_TEACHER, WITHOUT_TEACHER = ("student", "teacher", "known"), ("student", "known")


def _made(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return loss() if isinstance(loss, type) else loss


def _parameters(loss: Callable[..., Tensor]) -> list[inspect.Parameter]:
    """The parameters of a loss; an empty list where Python cannot read them."""
    try:
        return list(inspect.signature(loss).parameters.values())
    except (TypeError, ValueError):
        return []


def _scalar(name: str, loss: Tensor) -> Tensor:
    if not isinstance(loss, Tensor) or loss.ndim:
        found = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise TasbError(expected=f"a scalar tensor of the loss `{name}`", found=str(found), do="return its mean")
    return loss


PAIRWISE: Registry[PairwiseLoss] = Registry("pairwise loss", "pairwise-losses", prepared=PairwiseLoss)
IN_BATCH: Registry[InBatchLoss] = Registry("in-batch loss", "in-batch-losses", prepared=InBatchLoss)


def _precision(scores: Tensor) -> torch.dtype:
    """fp64 stays; else fp32, whatever autocast made of the model: scores near 100 would be rounded to 1/16 in fp16."""
    return torch.float64 if scores.dtype == torch.float64 else torch.float32


# Losses of a query's own positive and negative.


@PAIRWISE.register("margin-mse")
def margin_mse(student_positives: Tensor, student_negatives: Tensor, teacher_margins: Tensor) -> Tensor:
    """Margin-MSE: the student's margins become the teacher's (paper, Eq. 6; Hofstätter et al. 2020, arXiv 2010.02666).

    The loss compares margins, not scores, so the student may choose the level of each query's scores. With n negatives
    of each query, it is the mean over all of them.

    Args:
        student_positives: [b] or [b, n] scores of the own positives.
        student_negatives: [b] or [b, n] scores of the own negatives.
        teacher_margins: [b] or [b, n] teacher's score of the positive minus that of the negative.
    """
    return functional.mse_loss(student_positives - student_negatives, teacher_margins)


@PAIRWISE.register("ranknet")
def ranknet(student_positives: Tensor, student_negatives: Tensor, _teacher_margins: Tensor | None = None) -> Tensor:
    """RankNet: cross-entropy of "the positive is above the negative" (Burges et al., ICML 2005). Needs only labels.

    The loss of the paper's teachers and of its baseline without a teacher (Table 4, first row).

    Args:
        student_positives: [b] or [b, n] scores of the own positives.
        student_negatives: [b] or [b, n] scores of the own negatives.
    """
    return functional.softplus(student_negatives - student_positives).mean()


@PAIRWISE.register("kldiv")
def kl_divergence_of_own(student_positives: Tensor, student_negatives: Tensor, teacher_margins: Tensor) -> Tensor:
    """KL divergence of the student's softmax from the teacher's over a query's own passages, mean over queries.

    Margins say as much as the teacher's scores: softmax does not change where all scores of a list change by one number
    (Lin et al., 2020, arXiv:2010.11386). With one negative, it is RankNet with the teacher's probability as the label.

    Args:
        student_positives: [b] or [b, n] scores of the own positives.
        student_negatives: [b] or [b, n] scores of the own negatives.
        teacher_margins: [b] or [b, n] teacher's score of the positive minus that of the negative.
    """
    lists = _own_lists(student_positives - student_negatives), _own_lists(teacher_margins)
    ours, theirs = (scores.log_softmax(dim=1) for scores in lists)
    return (theirs.exp() * (theirs - ours)).sum(dim=1).mean()


@PAIRWISE.register("lambda-mrr")
def lambda_mrr(
    student_positives: Tensor, student_negatives: Tensor, teacher_margins: Tensor, *, ranks: int | None = None
) -> Tensor:
    """LambdaRank for the reciprocal rank, over a query's own passages with labels from the teacher's ranking (CL-DRD).

    A passage that the teacher ranks at r has the label 1/r, or 0 beyond the first `ranks`; equal scores share a rank.
    Each pair with label i above label j costs |1/π_i - 1/π_j| · log(1 + exp(s_j - s_i)). π are the student's ranks; no
    gradient goes through them. Sum over pairs, mean over queries (Zeng et al., SIGIR 2022, arXiv:2204.13679).

    Args:
        student_positives: [b] or [b, n] scores of the own positives.
        student_negatives: [b] or [b, n] scores of the own negatives.
        teacher_margins: [b] or [b, n] teacher's score of the positive minus that of the negative.
        ranks: the number of the teacher's first ranks to learn; None is all.
    """
    scores, theirs = _own_lists(student_positives - student_negatives), _own_lists(teacher_margins)
    places = 1 + (theirs[:, None, :] > theirs[:, :, None]).sum(dim=2)
    labels = torch.where(places <= (ranks or scores.shape[1]), 1 / places, 0.0)
    order = scores.detach().argsort(dim=1, descending=True, stable=True)
    reciprocal = 1 / (1 + order.argsort(dim=1).to(scores.dtype))
    weights = (reciprocal[:, :, None] - reciprocal[:, None, :]).abs()
    costs = functional.softplus(scores[:, None, :] - scores[:, :, None])
    return torch.where(labels[:, :, None] > labels[:, None, :], weights * costs, 0.0).sum(dim=(1, 2)).mean()


def _own_lists(margins: Tensor) -> Tensor:
    """Scores [b, 1 + n] of the own positive and negatives, from margins [b] or [b, n]: the positive's is taken as 0."""
    return functional.pad(-margins.reshape(len(margins), -1), (1, 0))


# Margin-MSE with every other passage of the batch as a negative (paper, Eq. 7), in three readings of that equation.
#
# A query's own positive is paired with each passage; the student's margin becomes the in-batch teacher's.


@IN_BATCH.register("margin-mse")
def margin_mse_mean(student: InBatchScores, teacher: InBatchScores, known: KnownPositives) -> Tensor:
    """Margin-MSE in the batch: half the mean over other queries' positives plus half the mean over their negatives.

    The means leave out passages that are known to be relevant to the query. Without known positives, this is the form
    of the released code, for which alpha = 0.75 was chosen. For a batch of one query, which has no other passages, it
    is 0.

    Args:
        student: scores, [b, b] twice.
        teacher: likewise.
        known: the passages to leave out.
    """
    positives, negatives = _errors(student, teacher)
    other_positives, other_negatives = known.other_passages()
    return (_mean_square(positives, other_positives) + _mean_square(negatives, other_negatives)) / 2


@IN_BATCH.register("margin-mse-eq7")
def margin_mse_eq7(student: InBatchScores, teacher: InBatchScores, _known: KnownPositives) -> Tensor:
    """Eq. 7 as printed: the sum over all pairs, divided by 2b, which is about b times `margin-mse`.

    It includes the query's own negative (and the own positive, whose margin is 0 for both), and uses no mask.

    Args:
        student: scores, [b, b] twice.
        teacher: likewise.
    """
    positives, negatives = _errors(student, teacher)
    return (positives.square().sum() + negatives.square().sum()) / (2 * student.size)


@IN_BATCH.register("margin-mse-released")
def margin_mse_released(student: InBatchScores, teacher: InBatchScores, _known: KnownPositives) -> Tensor:
    """The loss of the authors' matchmaker library: `margin-mse` without a mask for known positives.

    Args:
        student: scores, [b, b] twice.
        teacher: likewise.
    """
    negatives = student.negatives.shape[1] // max(student.size, 1)
    nothing_known = KnownPositives.none(student.size, student.positives.device, negatives=negatives)
    return margin_mse_mean(student, teacher, nothing_known)


def _errors(student: InBatchScores, teacher: InBatchScores) -> tuple[Tensor, Tensor]:
    """Student's margin minus teacher's, [b, b] for the positives and for the negatives."""
    ours, theirs = student.margins(), teacher.margins()
    return ours.positives - theirs.positives, ours.negatives - theirs.negatives


def _mean_square(errors: Tensor, keep: Tensor) -> Tensor:
    # Left out before it is squared: 0 times an infinite error would be NaN.
    return torch.where(keep, errors, 0.0).square().sum() / keep.sum().clamp(min=1)


# Losses of a query's whole list: all positives and all negatives of the batch (paper, Section 5.1 and Table 3).
#
# Passages known to be relevant to the query, other than its own positive, leave its list.


@IN_BATCH.register("kldiv")
def kl_divergence(student: InBatchScores, teacher: InBatchScores, known: KnownPositives) -> Tensor:
    """KL divergence of the student's softmax from the teacher's over each list, mean over queries (Table 3, KLDiv).

    It is never negative. (The released code's can be, because it passes softmax where torch expects log-softmax.)

    Args:
        student: scores, [b, b] twice.
        teacher: likewise.
        known: the passages that the lists leave out.
    """
    absent = known.lists()
    ours, theirs = _log_softmax(student.lists(), absent), _log_softmax(teacher.lists(), absent)
    return (_softmax(teacher.lists(), absent) * (theirs - ours)).sum(dim=1).mean()


@IN_BATCH.register("listnet")
def listnet(student: InBatchScores, teacher: InBatchScores, known: KnownPositives) -> Tensor:
    """ListNet: cross-entropy of the student's top-one probabilities with the teacher's (Cao et al., ICML 2007).

    It is `kldiv` plus the teacher's entropy, so its gradient is the same; mean over queries (Table 3, ListNet).

    Args:
        student: scores, [b, b] twice.
        teacher: likewise.
        known: the passages that the lists leave out.
    """
    absent = known.lists()
    return -(_softmax(teacher.lists(), absent) * _log_softmax(student.lists(), absent)).sum(dim=1).mean()


def _softmax(scores: Tensor, absent: Tensor) -> Tensor:
    return scores.masked_fill(absent, -float("inf")).softmax(dim=1)


def _log_softmax(scores: Tensor, absent: Tensor) -> Tensor:
    """Log-softmax over what is in the list; 0 for what is not, where -inf times probability 0 would be NaN."""
    return scores.masked_fill(absent, -float("inf")).log_softmax(dim=1).masked_fill(absent, 0.0)


# A loss without a teacher.


@IN_BATCH.register("infonce")
def infonce(student: InBatchScores, known: KnownPositives, *, temperature: float = 1.0) -> Tensor:
    """InfoNCE: cross-entropy of the own positive among all passages of the batch. Needs no teacher.

    Also called the multiple negatives ranking loss (van den Oord et al., 2018, arXiv:1807.03748; Henderson et al.,
    2017, arXiv:1705.00652). Mean over queries.

    Args:
        student: scores, [b, b] twice.
        known: the passages that the lists leave out.
        temperature: divides the scores, above 0. Dot products need none; for cosines 0.05 is usual, because they lie
            between -1 and 1.
    """
    chosen = _log_softmax(student.lists() / temperature, known.lists())
    return -chosen[:, : student.size].diagonal().mean()


# LambdaRank in the form nDCG-Loss2 (paper, Table 3; Wang et al., CIKM 2018, "The LambdaLoss Framework").

# As the released code turns teacher scores into labels: softmax, and 2 more for what gets more than 0.1 %.
RELEVANT_PROBABILITY = 0.001
RELEVANT_BONUS = 2.0
PAIRS_AT_ONCE = 2**24  # a batch of 4,096 has 2.7e11


@IN_BATCH.register("lambdarank")
def lambdarank(student: InBatchScores, teacher: InBatchScores, known: KnownPositives) -> Tensor:
    """nDCG-Loss2 of each query's list with labels from the teacher, mean over queries.

    A label is the teacher's softmax over the list, plus 2 if that exceeds 0.001.

    The released code sums over queries. The mean keeps alpha's meaning for every batch size, as in the other losses;
    alpha times the batch size gives the released weight. (It also clamps probabilities at 1e-6, which stops the
    gradient of pairs that are wrong by more than 14; here they keep it.)

    Args:
        student: scores, [b, b] twice.
        teacher: likewise.
        known: the passages that the lists leave out.
    """
    absent = known.lists()
    probabilities = teacher.lists().masked_fill(absent, -float("inf")).softmax(dim=1)
    labels = probabilities + RELEVANT_BONUS * (probabilities > RELEVANT_PROBABILITY)
    scores = student.lists()
    queries = max(1, PAIRS_AT_ONCE // scores.shape[1] ** 2)
    # The way back computes each chunk again, so that only one chunk's pairs are ever in memory.
    losses = [
        checkpoint(ndcg_loss2, *chunk, use_reentrant=False, preserve_rng_state=False)
        for chunk in zip(*(torch.split(values, queries) for values in (scores, labels, absent)), strict=True)
    ]
    return torch.cat(losses).mean()


def ndcg_loss2(scores: Tensor, labels: Tensor, absent: Tensor) -> Tensor:
    """-Σ log2 sigmoid(s_i - s_j)^w_ij over pairs with label i above label j; one value a list, [lists].

    w_ij = |1/D_|i-j| - 1/D_|i-j|+1| · |G_i - G_j|, with ranks by descending score, D_r = log2(1 + r), and gains
    G = (2^label - 1) / maxDCG. Weights are constants: no gradient goes through them. Equal scores are ranked in the
    list's order, so their weights depend on it.

    Args:
        scores: [lists, length].
        labels: [lists, length], 0 or more.
        absent: bool [lists, length], True for what is not in the list.
    """
    order = scores.detach().masked_fill(absent, -float("inf")).argsort(dim=1, descending=True, stable=True)
    # 0 instead of a score that may be infinite, which would make the gradient NaN even where nothing uses it.
    scores, labels, present = (values.gather(1, order) for values in (scores.masked_fill(absent, 0.0), labels, ~absent))
    ranks = torch.arange(1, scores.shape[1] + 1, device=scores.device, dtype=scores.dtype)
    discounts = torch.log2(1 + ranks)

    gains = (torch.exp2(labels) - 1) * present
    ideal = (gains.sort(dim=1, descending=True).values / discounts).sum(dim=1, keepdim=True)
    gains = gains / ideal.clamp(min=torch.finfo(gains.dtype).tiny)

    by_distance = functional.pad(1 / discounts - 1 / torch.log2(2 + ranks), (1, 0))  # of ranks 0, 1, 2, … apart
    positions = torch.arange(scores.shape[1], device=scores.device)
    weights = by_distance[(positions[:, None] - positions).abs()] * (gains[:, :, None] - gains[:, None, :]).abs()
    above = (labels[:, :, None] > labels[:, None, :]) & present[:, :, None] & present[:, None, :]
    costs = functional.softplus(scores[:, None, :] - scores[:, :, None]) / math.log(2)
    return torch.where(above, weights * costs, 0.0).sum(dim=(1, 2))


# A loss at several lengths of the vectors.


def matryoshka(
    loss: Callable[..., Tensor], vectors: Sequence[Tensor], weights: Mapping[int, float], *, normalise: bool
) -> Tensor:
    """The weighted sum of a loss over prefixes of the vectors (Kusupati et al., NeurIPS 2022, Eq. 1; arXiv:2205.13147).

    So the first numbers of a vector hold most of what it says, and vectors can be cut.

    Args:
        loss: (vectors, as many as `vectors`) → scalar.
        vectors: each [texts, dimension].
        weights: the length of a prefix → the factor of its loss.
        normalise: divide each prefix by its length, for a student whose scores are cosines.
    """
    losses = []
    for length, weight in weights.items():
        cut = [block[:, :length] for block in vectors]
        if normalise:
            cut = [functional.normalize(block, dim=1) for block in cut]
        losses.append(weight * loss(*cut))
    return torch.stack(losses).sum()


# Dual supervision: a pairwise and an in-batch teacher together.


def dual_supervision(pairwise: Tensor | None, in_batch: Tensor | None, alpha: float) -> Tensor:
    """Pairwise loss + alpha · in-batch loss (paper, Eq. 8). An absent part counts as 0.

    Args:
        pairwise: scalar.
        in_batch: scalar.
        alpha: the factor of the in-batch loss; the paper's 0.75 brings both into the same range.

    Raises:
        ValueError: both parts are absent.
    """
    weighted = None if in_batch is None else alpha * in_batch
    parts = [part for part in (pairwise, weighted) if part is not None]
    if not parts:
        raise ValueError("expected a pairwise loss, an in-batch loss or both, found neither")
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]
