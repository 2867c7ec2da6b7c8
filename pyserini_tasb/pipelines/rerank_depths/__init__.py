"""How deep to re-rank: a measure at each depth, of one pass to the deepest."""
