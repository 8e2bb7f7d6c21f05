"""The health of a container: Docker's Health, kept in health.json of the run folder while it runs.

Its monitor writes it (engine/monitor/life/health.py), `inspect`, `ps` and `wait` read it. It is bounded: five
results, each with 4096 bytes of output. Not in the database: it changes often, and ends with the run.
"""

from __future__ import annotations

from estiva import fastjson
from estiva.files import atomic_write, read_bounded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine.state.types import Health, HealthResult, Record, RunState
    from estiva.paths import Paths

STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"
RESULTS = 5  # that are kept
OUTPUT = 4096  # bytes of each result's
_LIMIT = 1 << 20  # bytes: each of the output may take six as JSON


def new() -> Health:
    return {"Status": STARTING, "FailingStreak": 0, "Log": []}


def read(run: str) -> Health:
    """Of a run folder; as at the start where there is none that can be understood."""
    try:
        found: Any = fastjson.loads(read_bounded(f"{run}/health.json", _LIMIT))
        if isinstance(found["Status"], str) and isinstance(found["FailingStreak"], int):
            results: list[Any] = [result for result in found["Log"] if isinstance(result, dict)]
            return {"Status": found["Status"], "FailingStreak": found["FailingStreak"], "Log": results}
    except Exception:  # not there yet, damaged
        pass
    return new()


def write(run: str, health: Health) -> None:
    """Raises OSError: when the run is over, its folder has gone."""
    data = fastjson.dumps(health).encode("utf-8", "surrogateescape")
    atomic_write(f"{run}/health.json", data, sync=False)


def add(health: Health, result: HealthResult, *, retries: int, lenient: bool) -> None:
    """One more result, by Docker's rules. While `lenient`, in the start period of one that has not been
    healthy yet, a failure does not count."""
    health["Log"] = [*health["Log"], result][-RESULTS:]
    if result["ExitCode"] == 0:
        health["FailingStreak"], health["Status"] = 0, HEALTHY
    elif not (lenient and health["Status"] == STARTING):
        health["FailingStreak"] += 1
        if health["FailingStreak"] >= retries:
            health["Status"] = UNHEALTHY


def fill(where: Paths, record: Record, live: RunState | None) -> None:
    """State.Health of a container that has been started, unless it has no health check. Of one that does not
    run it is known no more than that nobody can say it is well."""
    test = (record["Config"].get("Healthcheck") or {}).get("Test")
    if not test or test[0] == "NONE":
        return
    if record["State"]["Running"]:
        here = live is not None
        record["State"]["Health"] = read(where.run_container(record["Id"])) if here else new()
    else:
        record["State"]["Health"] = {"Status": UNHEALTHY, "FailingStreak": 0, "Log": []}
