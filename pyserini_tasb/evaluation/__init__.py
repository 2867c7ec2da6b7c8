"""Runs against judgments: measures, significance, query by query, pictures."""
