"""The Python API in asyncio: the same objects, whose waiting is done by a loop."""
