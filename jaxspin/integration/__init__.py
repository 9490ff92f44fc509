"""Sums over a mesh, at many levels, with their errors."""
