"""What a monitor does for the life of its container: health checks, and the way to another run."""
