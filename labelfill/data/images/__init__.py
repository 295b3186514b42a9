"""A table's images: (n, H, W) uint8 grey, from text or files, and what is asked of them."""
