"""Bundles and their config.json."""
