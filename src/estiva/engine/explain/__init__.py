"""What an engine can say of why something is as it is: of a container, of the machine."""
