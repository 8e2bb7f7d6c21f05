"""The Docker Engine API over the engine: `estiva api serve` (docs/api.md).

    server     sockets, who may connect, the end of a server that nobody uses
    app        routes, versions, errors: what all requests share
    answers    words of a query, bodies, JSON
    work       verbs of the engine, in threads
    hijack     connections that are taken over: attach, exec, sessions
    ROUTES     of each module below: what it answers

It holds no state of its own: another server, or the command line, sees and does the same.
"""
