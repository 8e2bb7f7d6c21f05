"""`estiva anatomy serve`: the anatomy as a web page on loopback, for one user of this machine."""
