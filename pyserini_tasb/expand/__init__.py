"""docT5query: passages with the queries that a model predicts for them, as Pyserini's JSONL (Nogueira and Lin 2019)."""
