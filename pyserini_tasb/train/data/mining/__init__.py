"""Hard negatives: `tasb data mine`."""
