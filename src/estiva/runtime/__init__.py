"""One bundle -> one process: an OCI runtime config and a rootfs plan become a running container."""
