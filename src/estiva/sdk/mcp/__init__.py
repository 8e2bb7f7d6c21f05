"""`estiva mcp`: a sandbox as a Model Context Protocol server (modelcontextprotocol.io), for programs that let
a model run code.

session   one client's box, and what its tools do; knows nothing of the protocol
server    the protocol, by the package `mcp`, which is optional: pip install 'estiva[mcp]'

A program of its own: cli/container/mcp.py becomes it.
"""
