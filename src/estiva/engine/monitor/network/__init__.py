"""Step 4 of a monitor: its container's networks."""
