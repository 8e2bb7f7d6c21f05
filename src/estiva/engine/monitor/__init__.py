"""The monitor: the process that lives as long as one container and is its init's parent."""
