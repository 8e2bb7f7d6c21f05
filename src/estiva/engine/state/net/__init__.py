"""What containers have of networks: taken at their start, and shown."""
