"""Registries: the client that pulls, pushes and copies, and the server."""
