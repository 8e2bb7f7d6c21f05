"""The files of a container's log: written, rotated, compressed."""
