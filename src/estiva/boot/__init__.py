"""How a cold process starts, installed or from a checkout: before any module of ours is loaded."""
