"""User verbs on networks of one's own, and who is on them, in the shapes of the Docker Engine API."""
