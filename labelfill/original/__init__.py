"""The original work of Kaggle's competition: its networks and their settings, complete, for comparison."""
