"""What a training run shows and leaves behind: progress, metrics, curves, model card, encoder card."""

from pyserini_tasb.train.report.curves import draw_curves
from pyserini_tasb.train.report.encoder_card import check_card_name, write_encoder_card
from pyserini_tasb.train.report.metrics_log import MetricsLog, read_metrics, truncate_to
from pyserini_tasb.train.report.model_card import Number, Provenance, write_encoder_model_card, write_teacher_model_card
from pyserini_tasb.train.report.progress import Progress
from pyserini_tasb.train.report.tensorboard import TensorBoard

__all__ = [
    "MetricsLog",
    "Number",
    "Progress",
    "Provenance",
    "TensorBoard",
    "check_card_name",
    "draw_curves",
    "read_metrics",
    "truncate_to",
    "write_encoder_card",
    "write_encoder_model_card",
    "write_teacher_model_card",
]
