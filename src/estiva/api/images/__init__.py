"""Images: looked at, named and removed, from and to registries and archives."""
