"""Regressions: named conditions are run, and their numbers judged."""
