"""`tasb tune`: the weights of a fusion, from judged queries, with what they are worth on others."""
