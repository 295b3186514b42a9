"""What ``scripts/bench`` measures in processes of their own: `measure` takes and returns what JSON holds."""
