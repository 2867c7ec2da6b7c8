"""Runs as numpy columns, for what handles millions of hits: read, ranked and written without an object for each."""

from pyserini_tasb.evaluate.columnar.in_order import InOrder
from pyserini_tasb.evaluate.columnar.run_reader import load_run_table, read_run_table
from pyserini_tasb.evaluate.columnar.run_table import RunTable
from pyserini_tasb.evaluate.columnar.run_writer import write_run_tables

__all__ = ["InOrder", "RunTable", "load_run_table", "read_run_table", "write_run_tables"]
