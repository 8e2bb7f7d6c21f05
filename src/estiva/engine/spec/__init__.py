"""An option is judged here, once: Docker's Config and HostConfig become an OCI runtime config."""
