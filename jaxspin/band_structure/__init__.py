"""The bands at one k: energies, degenerate groups, derivatives, geometry."""
