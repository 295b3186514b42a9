"""The pictures of README and docs, drawn from what ``scripts/demo`` leaves."""
