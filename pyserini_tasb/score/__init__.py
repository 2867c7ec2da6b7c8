"""Models that score a query with a passage."""
