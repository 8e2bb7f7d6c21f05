"""Files into and out of containers: view (what a container sees, by fd), place (where a path leads), copying
and archive (`cp`), program (the Python API's put and get).
"""
