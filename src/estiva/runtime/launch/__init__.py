"""How a container's init and further processes are made."""
