"""Architectures, and the one fit loop with its devices and memory."""
