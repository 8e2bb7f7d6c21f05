"""What a container may not do: capabilities, seccomp, devices, masked paths."""
