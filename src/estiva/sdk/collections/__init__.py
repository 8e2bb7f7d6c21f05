"""What an Engine has: containers, images, volumes, networks, a registry, the system."""
