"""A model's scores of training pairs: `tasb score`."""
