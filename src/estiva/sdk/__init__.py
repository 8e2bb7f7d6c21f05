"""The Python API, over the engine."""
