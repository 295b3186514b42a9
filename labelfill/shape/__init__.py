"""The shape prior and its mirror axis."""
