"""Where a monitor writes what its container says."""
