"""The health of a container: its check, judged, and as a monitor takes it (Docker's HealthConfig, the image's
Healthcheck); and Docker's Health, in health.json of the run folder while it runs.

Its monitor writes it (engine/monitor/life/health.py), `inspect`, `ps` and `wait` read it. It is bounded: five
results, each with 4096 bytes of output. Not in the database: it changes often, and ends with the run.
"""

from __future__ import annotations

from estiva import fastjson
from estiva.errors import InvalidInput, brief
from estiva.files import atomic_write, read_bounded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine.state.config_types import Config
    from estiva.engine.state.types import Health, HealthPlan, HealthResult, Record, RunState
    from estiva.paths import Paths

STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"
RESULTS = 5  # that are kept
OUTPUT = 4096  # bytes of each result's
_LIMIT = 1 << 20  # bytes: each of the output may take six as JSON

ACTIONS = ("none", "kill", "restart", "stop")  # Podman's --health-on-failure
LEAST = 1_000_000  # nanoseconds, as Docker
INTERVAL, TIMEOUT, START_INTERVAL, RETRIES = 30.0, 30.0, 5.0, 3
SHELL = ["/bin/sh", "-c"]
STOP_TIMEOUT = 10.0  # seconds


def check(config: Config) -> None:
    """Raises InvalidInput. Docker's rules, verifyContainerSettings of its daemon; what is 0 was not said."""
    health = config.get("Healthcheck") or {}
    for key in ("Interval", "Timeout", "StartPeriod", "StartInterval"):
        value = health.get(key) or 0
        if value < 0 or 0 < value < LEAST:
            raise InvalidInput(f"{key} in Healthcheck cannot be less than 1ms")
    if (health.get("Retries") or 0) < 0:
        raise InvalidInput("Retries in Healthcheck cannot be negative")
    test = health.get("Test") or []
    if test and (test[0] not in ("NONE", "CMD", "CMD-SHELL") or (len(test) > 1) != (test[0] != "NONE")):
        raise InvalidInput(
            f"invalid test of a health check: {brief(' '.join(test), 60)}",
            hint="NONE, CMD and a command with its arguments, or CMD-SHELL and a line for the shell",
        )
    action = config.get("HealthcheckOnFailureAction") or "none"
    if action not in ACTIONS:
        raise InvalidInput(f"invalid health check action: {brief(action, 60)}", hint=", ".join(ACTIONS))


def check_action(config: Config) -> None:
    """Raises InvalidInput where nothing can bring about what is to be done, the image's check counted."""
    action = config.get("HealthcheckOnFailureAction") or "none"
    if action != "none" and not argv(config):
        raise InvalidInput(
            f"cannot set on-failure action to {action} without a health check", hint="--health-cmd gives one"
        )


def argv(config: Config) -> list[str]:
    """The command of a container's check; none if it has none."""
    test = (config.get("Healthcheck") or {}).get("Test") or ["NONE"]
    if test[0] == "CMD-SHELL":
        return [*(config.get("Shell") or SHELL), *test[1:]]
    return list(test[1:]) if test[0] == "CMD" else []


def plan(config: Config) -> HealthPlan | None:
    """None of a container without a check."""
    command = argv(config)
    if not command:
        return None
    health = config["Healthcheck"]

    def seconds(key: str, usual: float) -> float:
        nanoseconds = health.get(key) or 0  # an image's has not been judged
        return max(nanoseconds, LEAST) / 1e9 if nanoseconds > 0 else usual

    stop = config.get("StopTimeout")
    interval = seconds("Interval", INTERVAL)
    return {
        "argv": command,
        "interval": interval,
        "timeout": seconds("Timeout", TIMEOUT),
        "start_period": seconds("StartPeriod", 0.0),
        "start_interval": seconds("StartInterval", min(START_INTERVAL, interval)),
        "retries": max(0, health.get("Retries") or 0) or RETRIES,
        "action": config.get("HealthcheckOnFailureAction") or "none",
        "stop_timeout": STOP_TIMEOUT if stop is None else float(stop),
    }


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
