"""Services that many tests need: postgres, redis, a web server."""

from __future__ import annotations

import os
import urllib.parse
from typing import TYPE_CHECKING, Any

from estiva.sdk import values
from estiva.sdk.run_options import RunOptions
from estiva.sdk.testing import waits
from estiva.sdk.testing.ready import HOST, TIMEOUT
from estiva.sdk.testing.service import service
from estiva.sdk.typed import shows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from typing import Unpack

    from estiva.engine import Engine
    from estiva.sdk.testing.ready import Service

    Word = str | os.PathLike[str]


@shows(RunOptions)
def postgres(
    image: str = "postgres:17",
    *,
    username: str = "test",
    password: str = "",
    database: str = "test",
    timeout: float = TIMEOUT,
    engine: Engine | None = None,
    **options: Unpack[RunOptions],
) -> AbstractContextManager[Service]:
    """A PostgreSQL server that answers SQL; `url` is for a client of this machine.

        with testing.postgres() as db:
            connection = psycopg.connect(db.url)

    The password is made up unless it is given. Its files are in memory unless
    `tmpfs` or `volumes` says otherwise, and its writes not synced: it is for tests.
    """
    name = values.text("username", username)
    secret = values.text("password", password) or os.urandom(12).hex()
    base = values.text("database", database)
    given: Any = {"shm_size": "256m", **options}
    variables = {"POSTGRES_USER": name, "POSTGRES_PASSWORD": secret, "POSTGRES_DB": base}
    if options.get("tmpfs") is None and not options.get("volumes"):
        given["tmpfs"] = ["/var/lib/postgresql"]
        variables["PGDATA"] = "/var/lib/postgresql/memory"  # not .../data, a VOLUME on the disk up to 17
    given["env"] = [*values.environment(variables), *values.environment(options.get("env"))]
    quoted = [urllib.parse.quote(each, safe="").replace("%7B", "%7b") for each in (name, secret, base)]
    return service(
        image,
        ["postgres", "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"],
        ports=5432,
        # by TCP: while the image makes its database, its server listens on a socket alone
        wait=waits.command(
            ["psql", "-h", HOST, "-U", name, "-d", base, "-c", "SELECT 1"], env={"PGPASSWORD": secret}
        ),
        timeout=timeout,
        url=f"postgresql://{quoted[0]}:{quoted[1]}@{HOST}:{{port}}/{quoted[2]}",
        engine=engine,
        **given,
    )


@shows(RunOptions)
def redis(
    image: str = "redis:7",
    *,
    timeout: float = TIMEOUT,
    engine: Engine | None = None,
    **options: Unpack[RunOptions],
) -> AbstractContextManager[Service]:
    """A Redis server that answers PING, and keeps nothing.

    with testing.redis() as cache:
        client = redis.Redis.from_url(cache.url)
    """
    given: Any = {**options, "ports": 6379}
    return service(
        image,
        ["redis-server", "--save", "", "--appendonly", "no", "--protected-mode", "no"],
        wait=waits.command(["redis-cli", "-e", "PING"]),
        timeout=timeout,
        url=f"redis://{HOST}:{{port}}/0",
        engine=engine,
        **given,
    )


@shows(RunOptions)
def http(
    image: str,
    command: str | Sequence[Word] = (),
    *,
    port: int = 80,
    path: str = "/",
    timeout: float = TIMEOUT,
    engine: Engine | None = None,
    **options: Unpack[RunOptions],
) -> AbstractContextManager[Service]:
    """A web server that answers `path`.

    with testing.http("nginx") as web:
        urllib.request.urlopen(web.url)
    """
    given: Any = {**options, "ports": port}
    return service(
        image,
        command,
        wait=[waits.port(port), waits.http(path)],
        timeout=timeout,
        url=f"http://{HOST}:{{port}}",
        engine=engine,
        **given,
    )
