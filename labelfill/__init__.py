"""labelfill completes partially labelled keypoint tables."""

__version__ = "0.1.0"
