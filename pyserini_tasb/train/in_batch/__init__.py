"""Teachers that score every query of a batch with every passage of it."""

from pyserini_tasb.train.in_batch.teacher import InBatchTeacher, load_in_batch_teacher

__all__ = ["InBatchTeacher", "load_in_batch_teacher"]
