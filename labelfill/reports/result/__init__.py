"""What came of a table: the page of a finished run."""
