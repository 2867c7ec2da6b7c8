"""Scores for pairs of a query and a passage, and runs that are sorted again by such scores."""
