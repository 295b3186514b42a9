"""Stage two: blank coordinates found, written into the table, and told of in the provenance."""
