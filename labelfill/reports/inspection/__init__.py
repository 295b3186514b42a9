"""What is missing, repeated or suspect in a table."""
