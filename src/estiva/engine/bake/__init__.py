"""Bake files: what several builds are described by, read as buildx reads it, and built beside each other."""
