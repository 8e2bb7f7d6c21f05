"""Building images: the builder, joined to the store, the registry and the launcher of its steps."""
