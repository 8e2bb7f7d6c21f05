"""HTTP to a registry: connections, authentication, settings, retries."""
