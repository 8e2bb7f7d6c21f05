"""Images as files: docker-archive, oci-archive, OCI layout."""
