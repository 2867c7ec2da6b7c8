"""Regressions: named conditions are run, their numbers are judged, and a report shows them."""
