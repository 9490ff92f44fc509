"""Disorder."""
