"""Losses: pairwise, in batch, and both together (paper, Section 2.3). Importing this fills both registries."""

from pyserini_tasb.train.losses.dual import dual_supervision
from pyserini_tasb.train.losses.lambda_loss import lambdarank
from pyserini_tasb.train.losses.list_wise import kl_divergence, listnet
from pyserini_tasb.train.losses.margin_mse_in_batch import margin_mse_eq7, margin_mse_mean, margin_mse_released
from pyserini_tasb.train.losses.pairwise import margin_mse, ranknet
from pyserini_tasb.train.losses.registry import IN_BATCH, PAIRWISE, in_batch_loss, pairwise_loss
from pyserini_tasb.train.losses.scores import InBatchScores, KnownPositives
from pyserini_tasb.train.losses.teacher_scale import (
    BERT_CAT_MARGINS,
    MarginRescale,
    MarginStatistics,
    in_batch_margins,
    scale_warning,
)

__all__ = [
    "BERT_CAT_MARGINS",
    "IN_BATCH",
    "PAIRWISE",
    "InBatchScores",
    "KnownPositives",
    "MarginRescale",
    "MarginStatistics",
    "dual_supervision",
    "in_batch_loss",
    "in_batch_margins",
    "kl_divergence",
    "lambdarank",
    "listnet",
    "margin_mse",
    "margin_mse_eq7",
    "margin_mse_mean",
    "margin_mse_released",
    "pairwise_loss",
    "ranknet",
    "scale_warning",
]
