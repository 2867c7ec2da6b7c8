"""Pyserini's own two-click reproductions (2CR): read, and written."""
