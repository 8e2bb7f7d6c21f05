"""The registry server: the OCI distribution spec, answered."""
