"""Garbage collection, checks, what is left over, usage."""
