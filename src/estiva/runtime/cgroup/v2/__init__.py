"""Cgroups of version 2."""
