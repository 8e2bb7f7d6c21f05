"""--health-* and --no-healthcheck of `run` and `create`, as Config; loaded when one of them is given.

What can't be is refused by engine/state/life/health.py.
"""

from __future__ import annotations

from estiva.cmdline.parser import UsageError, converted
from estiva.errors import InvalidInput
from estiva.oci import units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.cmdline.parser import Option, Options

DURATIONS = (
    ("health-interval", "Interval"),
    ("health-timeout", "Timeout"),
    ("health-start-period", "StartPeriod"),
    ("health-start-interval", "StartInterval"),
)


def read(options: Options, kinds: dict[str, Option]) -> dict[str, Any]:
    """Healthcheck, and what is done on failure. Raises UsageError."""
    given = [name for name in options.values if name.startswith("health-")]
    if options.flag("no-healthcheck"):
        if any(options.text(name) for name in given):
            raise UsageError("--no-healthcheck conflicts with --health-* options")
        return {"Healthcheck": {"Test": ["NONE"]}}
    config: dict[str, Any] = {}
    health: dict[str, Any] = {}
    if options.text("health-cmd"):
        health["Test"] = _test(options.text("health-cmd"))
    for name, key in DURATIONS:
        if options.given(name):
            if options.text(name).startswith("-"):
                raise UsageError(f"--{name} cannot be negative")
            health[key] = converted(kinds[name], options.text(name), units.duration)
    if options.given("health-retries"):
        health["Retries"] = options.number("health-retries")
        if health["Retries"] < 0:
            raise UsageError("--health-retries cannot be negative")
    if health:
        config["Healthcheck"] = health
    if options.text("health-on-failure"):
        config["HealthcheckOnFailureAction"] = options.text("health-on-failure")
    return config


def _test(text: str) -> list[str]:
    """A line for the shell; as Podman has it, also a JSON list of words, and "none"."""
    if text == "none":
        return ["NONE"]
    if text.startswith("["):
        from estiva import fastjson

        try:
            words = fastjson.loads(text)
        except InvalidInput:
            words = None
        if isinstance(words, list) and words and all(isinstance(word, str) for word in words):
            return words if words[0] in ("CMD", "CMD-SHELL", "NONE") else ["CMD", *words]
    return ["CMD-SHELL", text]
