"""Runs, judgments, topics and corpora: the files that others read and write."""
