"""Adaptation of a retriever to a domain that has documents only."""
