"""Services for tests, in containers.

    from estiva import testing

    with testing.postgres() as db:
        connection = psycopg.connect(db.url)

Each is on free ports of 127.0.0.1, ready when the block begins, and gone when it ends: also when the test's
process is killed, with pytest-xdist too. Nothing else has to run for that. See docs/testing.md.
"""

from __future__ import annotations

from estiva.sdk.testing.known import http, postgres, redis
from estiva.sdk.testing.ready import NotReady, Service, Wait, Waiting
from estiva.sdk.testing.service import service
from estiva.sdk.testing.waits import command, healthy, log, port
from estiva.sdk.testing.waits import http as answers

__all__ = [
    "NotReady",
    "Service",
    "Wait",
    "Waiting",
    "answers",
    "command",
    "healthy",
    "http",
    "log",
    "port",
    "postgres",
    "redis",
    "service",
]
