"""One ranking of several: runs in, run out. Methods, normalisations and what becomes of documents a run lacks.

from pyserini_tasb.fuse import Fusion, fuse_runs

fused = fuse_runs([dense, bm25], Fusion(method="linear", weights=(1.0, 0.1)))
"""

from pyserini_tasb.fuse.fusing import fuse_runs, fuse_tables
from pyserini_tasb.fuse.fusion import Fusion

__all__ = ["Fusion", "fuse_runs", "fuse_tables"]
