"""Measures and compares labelfill from outside; no part of the package."""
