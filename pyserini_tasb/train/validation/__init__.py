"""The early-stopping set, its measure, and when to stop."""

from pyserini_tasb.train.validation.build import ValidationOptions, build_validation_set
from pyserini_tasb.train.validation.early_stopping import EarlyStopping
from pyserini_tasb.train.validation.overlap import overlap_warning
from pyserini_tasb.train.validation.validation_set import ValidationSet

__all__ = ["EarlyStopping", "ValidationOptions", "ValidationSet", "build_validation_set", "overlap_warning"]
