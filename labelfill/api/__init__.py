"""What people call from Python: the stages as functions, and arrays filled in scikit-learn's way."""
