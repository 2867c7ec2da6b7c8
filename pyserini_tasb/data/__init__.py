"""From what people have to training data: pairs, hard negatives, pseudo-queries, teacher scores, clusters."""
