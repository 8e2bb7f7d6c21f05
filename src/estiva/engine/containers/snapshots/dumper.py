"""The process that has a container's processes written down: memory.py is its caller's side."""

from __future__ import annotations

import os

from estiva import fastjson
from estiva.engine.monitor.protocol import encode_error
from estiva.runtime.lifecycle import memory


def _request() -> bytes:
    parts = []
    while part := os.read(0, 1 << 16):
        parts.append(part)
    return b"".join(parts)


def serve() -> None:
    """One request on stdin, its answer on stdout."""
    try:
        memory.dump(**fastjson.loads(_request(), what="the request"))
        answer = b'{"event": "done"}'
    except BaseException as error:
        answer = encode_error(error)
    os.write(1, answer)
