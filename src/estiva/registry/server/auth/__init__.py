"""Who may do what at the registry server."""
