"""Image configs: made, checked, derived from a base.

On the cold path for DEFAULT_PATH alone.
"""

from __future__ import annotations

from estiva.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# where a command is looked for when nobody has said where
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LAYERS_LIMIT = 1000
TEXTS = ("User", "WorkingDir", "StopSignal", "Image", "Hostname", "Domainname", "MacAddress")
LISTS = ("Env", "Cmd", "Entrypoint", "OnBuild", "Shell")
SETS = ("ExposedPorts", "Volumes")


def check(document: dict[str, Any]) -> None:
    """Check the types of a config's fields (image-spec config.md). Raises InvalidInput naming the field."""
    for key in ("architecture", "os", "variant", "created", "author"):
        if not isinstance(document.get(key) or "", str):
            raise _wrong(key, "text")
    rootfs = document.get("rootfs")
    if not isinstance(rootfs, dict) or rootfs.get("type") != "layers":
        raise InvalidInput("the image config has no rootfs of type layers")
    diff_ids = rootfs.get("diff_ids")
    if diff_ids is None:
        rootfs["diff_ids"] = diff_ids = []
    if not isinstance(diff_ids, list) or len(diff_ids) > LAYERS_LIMIT:
        raise _wrong("rootfs.diff_ids", f"a list of at most {LAYERS_LIMIT}")
    from estiva.oci import digest as digests

    for diff_id in diff_ids:
        if not isinstance(diff_id, str):
            raise _wrong("rootfs.diff_ids", "a list of digests")
        digests.parse(diff_id)
    history = document.get("history")
    if history is not None and not (isinstance(history, list) and all(map(_is_step, history))):
        raise _wrong("history", "a list of steps")
    config = document.get("config")
    if config is not None:
        if not isinstance(config, dict):
            raise _wrong("config", "an object")
        _check_run(config)


def _check_run(config: dict[str, Any]) -> None:
    for key in TEXTS:
        if not isinstance(config.get(key) or "", str):
            raise _wrong(f"config.{key}", "text")
    for key in LISTS:
        value = config.get(key)
        if value is not None and not (isinstance(value, list) and all(isinstance(v, str) for v in value)):
            raise _wrong(f"config.{key}", "a list of texts")
    for key in SETS:
        value = config.get(key)
        if value is not None and not (
            isinstance(value, dict) and all(v is None or isinstance(v, dict) for v in value.values())
        ):
            raise _wrong(f"config.{key}", "an object of empty objects")
    labels = config.get("Labels")
    if labels is not None and not (
        isinstance(labels, dict) and all(isinstance(v, str) for v in labels.values())
    ):
        raise _wrong("config.Labels", "an object of texts")
    timeout = config.get("StopTimeout")
    if timeout is not None and (not isinstance(timeout, int) or isinstance(timeout, bool)):
        raise _wrong("config.StopTimeout", "a whole number")
    health = config.get("Healthcheck")
    if health is not None:
        _check_health(health)


def _check_health(health: Any) -> None:
    if not isinstance(health, dict):
        raise _wrong("config.Healthcheck", "an object")
    test = health.get("Test")
    if test is not None and not (isinstance(test, list) and all(isinstance(v, str) for v in test)):
        raise _wrong("config.Healthcheck.Test", "a list of texts")
    for key in ("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"):
        value = health.get(key, 0)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise _wrong(f"config.Healthcheck.{key}", "a whole number")


def _is_step(step: Any) -> bool:
    return isinstance(step, dict) and all(
        isinstance(step.get(key) or "", str) for key in ("created", "created_by", "author", "comment")
    )


def _wrong(field: str, kind: str) -> InvalidInput:
    return InvalidInput(f"the image config's {field} is not {kind}")


def new(architecture: str, os: str = "linux", variant: str = "") -> dict[str, Any]:
    """The config of an image from scratch."""
    document: dict[str, Any] = {"architecture": architecture, "os": os, "config": {}}
    if variant:
        document["variant"] = variant
    document["rootfs"] = {"type": "layers", "diff_ids": []}
    document["history"] = []
    return document


def derive(
    base: dict[str, Any],
    diff_id: str | None,
    *,
    created_by: str = "",
    comment: str = "",
    author: str = "",
    created: float | None = None,
) -> dict[str, Any]:
    """A copy of `base` with one layer more, or, with no `diff_id`, one step of history that has no layer."""
    from copy import deepcopy

    from estiva.timestamps import rfc3339

    document = deepcopy(base)
    stamp = rfc3339(None if created is None else int(created * 1_000_000) * 1000, short=True)
    document["created"] = stamp
    if author:
        document["author"] = author
    step: dict[str, Any] = {"created": stamp}
    for key, value in (("created_by", created_by), ("comment", comment), ("author", author)):
        if value:
            step[key] = value
    if diff_id is None:
        step["empty_layer"] = True
    else:
        document.setdefault("rootfs", {"type": "layers", "diff_ids": []})["diff_ids"].append(diff_id)
    document["history"] = [*(document.get("history") or []), step]
    document["config"] = document.get("config") or {}
    return document
