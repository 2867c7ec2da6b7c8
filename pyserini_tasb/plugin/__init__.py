"""How Pyserini finds us: a start-up hook, and adapters for a few of its modules. Imported at interpreter start."""
