"""What a container sees where: volumes, binds, generated files."""
