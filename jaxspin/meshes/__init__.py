"""Points of k-space and their weights."""
