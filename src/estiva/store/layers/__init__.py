"""Layers: from a stream of bytes to something mountable, and back."""
