"""Pages to look at: what is in a table, and what became of it."""
