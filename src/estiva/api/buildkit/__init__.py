"""BuildKit's protocol, as far as docker's client, buildx and compose speak it to a daemon.

    wire       protobuf's bytes <-> dicts, by declared fields
    messages   the fields that are used here
    http2      one HTTP/2 connection over a taken over one; calls of gRPC both ways
    rpc        gRPC: services that answer, errors
    routes     POST /grpc (we answer) and POST /session (the client answers)
    session    what a client offers: files, credentials, secrets, agents, places for outputs
    control    moby.buildkit.v1.Control: Solve, Status, ...
    gateway    moby.buildkit.v1.frontend.LLBBridge: buildx as a gateway client
    solve      one build: what is asked for -> engine.builds.build
    status     the engine's events -> vertexes, statuses, logs
    transfer   contexts come (fsutil's DiffCopy), outputs go back

Frontend dockerfile.v0 is our own builder; there is no LLB.
"""
