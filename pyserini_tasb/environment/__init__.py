"""The machine underneath: which Java Pyserini gets, and `tasb doctor`."""
