"""Tar archives, read and written strictly."""
