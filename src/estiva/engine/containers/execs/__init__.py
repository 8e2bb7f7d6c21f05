"""Execs in two steps, as the Engine API has them."""
