"""Typed YAML recipes: encoder cards, fusion recipes and regressions, and where they are looked up."""
