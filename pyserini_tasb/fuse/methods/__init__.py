"""Fusion methods by name; a family a file."""

from pyserini_tasb.fuse.methods import borda, comb, linear, reciprocal
from pyserini_tasb.fuse.methods.method import METHODS, Method

__all__ = ["METHODS", "Method", "borda", "comb", "linear", "reciprocal"]
