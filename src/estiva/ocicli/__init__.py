"""estiva-oci: the command line of an OCI runtime, as podman, docker and containerd start one."""
