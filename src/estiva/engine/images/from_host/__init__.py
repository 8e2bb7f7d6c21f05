"""An image made of this machine's programs and the libraries that they load."""
