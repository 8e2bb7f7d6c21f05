"""A health check, judged, and as a monitor takes it (Docker's HealthConfig, image-spec's Healthcheck)."""

from __future__ import annotations

from estiva.errors import InvalidInput, brief

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.config_types import Config
    from estiva.engine.state.types import HealthPlan

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
    return {
        "argv": command,
        "interval": seconds("Interval", INTERVAL),
        "timeout": seconds("Timeout", TIMEOUT),
        "start_period": seconds("StartPeriod", 0.0),
        "start_interval": seconds("StartInterval", START_INTERVAL),
        "retries": max(0, health.get("Retries") or 0) or RETRIES,
        "action": config.get("HealthcheckOnFailureAction") or "none",
        "stop_timeout": STOP_TIMEOUT if stop is None else float(stop),
    }
