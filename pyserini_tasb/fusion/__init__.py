"""Several runs to one: methods, normalisations, and weights that are tuned."""
