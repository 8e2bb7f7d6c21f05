"""The root filesystem and all that is mounted in it."""
