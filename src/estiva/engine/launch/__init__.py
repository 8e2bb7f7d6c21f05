"""From a container's record to its monitor, a process of its own."""
