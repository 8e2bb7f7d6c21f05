"""Removing images, garbage collection, checks, what is left over, usage."""
