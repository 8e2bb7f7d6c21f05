"""How a build goes on, as people and programs want to see it."""
