"""`tasb search`: topics through a query encoder to Faiss indexes, to a run."""
