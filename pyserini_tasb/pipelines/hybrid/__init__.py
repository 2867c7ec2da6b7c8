"""`tasb hybrid`: topics to every index of a fusion recipe, what is found fused to one run."""
