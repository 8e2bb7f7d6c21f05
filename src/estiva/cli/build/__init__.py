"""Verbs that build images, and those on the build cache."""
