"""Snapshots of containers: made, looked at, removed."""
