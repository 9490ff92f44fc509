"""Numerical infrastructure: compiled programs, small matrices, files, devices; no physics."""
