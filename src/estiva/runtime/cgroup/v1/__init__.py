"""Cgroups of version 1, also in the hybrid layout."""
