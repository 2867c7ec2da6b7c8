"""Clusters of training queries: k-means over their vectors, the cluster file, what the clusters are like."""
