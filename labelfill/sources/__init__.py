"""Label sources, conventions and anchors: what is decided before training."""
