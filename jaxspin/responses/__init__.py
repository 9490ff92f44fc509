"""The public functions that return responses, and the one way from a problem to its responses."""
