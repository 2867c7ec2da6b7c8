"""docT5query: passages with the queries that a model predicts for them (Nogueira and Lin 2019)."""
