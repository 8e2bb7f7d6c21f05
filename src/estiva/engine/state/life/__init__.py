"""What is kept of the life of a container in its run folder: its health, and whether it is started again."""
