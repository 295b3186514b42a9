"""Tests of labelfill; a package, as one of that name is among installed ones (sleap-io brings it)."""
