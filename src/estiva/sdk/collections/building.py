"""A build, from its options to the id of its image."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from estiva.engine.builds import build as builds
from estiva.errors import EngineError, InvalidInput
from estiva.sdk import values
from estiva.sdk.dockerfile import read
from estiva.sdk.objects.shown import progress_of
from estiva.sdk.options import host_config_of
from estiva.sdk.result import BuildError
from estiva.sdk.run_options import BuildOptions, StepOptions
from estiva.sdk.told import theirs
from estiva.sdk.typed import options_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from estiva.engine import Engine

    Heard = Callable[[dict[str, Any]], object] | None

PULL = ("missing", "always", "never")
LOG = 1 << 20  # bytes of the end of a failed step's output that are kept


def build(
    engine: Engine,
    context: Any,
    tag: Any,
    dockerfile: Any,
    pull: Any,
    options: Mapping[str, Any],
    heard: Heard,
    look: Callable[[], object] | None = None,
) -> str:
    """See Images.build. `look` is called often, by all threads that work for the build: what it raises ends
    the build."""
    if isinstance(pull, bool):
        pull = "always" if pull else "missing"
    if not isinstance(pull, str) or pull not in PULL:
        raise values.wrong("pull", "missing, always or never", pull)
    given, steps = options_of(BuildOptions, options), StepOptions.__annotations__.keys()
    path, text = read(dockerfile)
    asked = {
        "context": _context(context),
        "dockerfile": path,
        "tags": values.listed("tag", tag),
        **{name: _plain(name, value) for name, value in given.items() if name not in steps},
    }
    if text is not None:
        if asked.get("dockerfile_text") is not None:
            raise InvalidInput("dockerfile and dockerfile_text are both the text", hint="give one of them")
        asked["dockerfile_text"] = text
    asked["outputs"] = _outputs(asked.pop("output", None))
    limits = host_config_of({name: given[name] for name in steps & given.keys()}, {}, StepOptions)
    log = _Log(heard)
    try:
        return builds.build(
            engine,
            progress=log,
            pull=pull == "always",
            fetch=pull != "never",
            look=look,
            limits=limits,
            **asked,
        )
    except EngineError as error:
        failed = builds.failed(error)
        if failed is None:
            raise
        output = bytes(log.output).decode(errors="replace")
        told = BuildError(failed.message, output, log.step, failed.line, failed.status, hint=failed.hint)
        told.excerpt = failed.excerpt
        raise told from None


def _context(context: Any) -> Any:
    """A folder, an address, or an open file with an archive."""
    if context is None:
        return None
    if hasattr(context, "read"):
        if not isinstance(context.read(0), bytes):
            raise values.wrong("context", "a file that was opened for bytes", context)
        return context
    return values.path("context", context)


def _plain(name: str, value: Any) -> Any:
    """An option of a build, as a Request has it."""
    if name == "source_date_epoch":
        return values.whole(name, value)
    if name in ("provenance", "sbom"):
        return str(value).lower() if isinstance(value, bool) else value
    if name in ("build_args", "labels"):
        return values.table(name, value)
    if name == "ssh":
        return {key: values.paths(name, each) for key, each in value.items()}
    if name == "build_contexts":
        return {key: os.fspath(each) for key, each in value.items()}
    if name == "secrets":
        return {key: each if isinstance(each, bytes) else os.fspath(each) for key, each in value.items()}
    return (
        values.listed(name, value)
        if name
        in ("allow", "annotations", "attest", "cache_from", "cache_to", "no_cache_filter", "platforms")
        else value
    )


def _outputs(value: Any) -> list[Any]:
    """The outputs of a build, as engine.builds has them."""
    many = value if isinstance(value, list) else [] if value is None else [value]
    return [
        {key: os.fspath(part) if isinstance(part, os.PathLike) else part for key, part in each.items()}
        if isinstance(each, dict)
        else os.fspath(each)
        for each in many
    ]


def telling(heard: Any) -> Callable[[dict[str, Any]], object] | None:
    if values.function("on_progress", heard) is None:
        return None
    said = theirs(heard)
    return lambda event: said(progress_of(event))


class _Log:
    """Keeps the end of what the commands write, and which step has failed first; several may run at once."""

    def __init__(self, heard: Heard) -> None:
        self.heard = heard
        self.step = ""
        self.output = bytearray()
        self.running: dict[tuple[str, str], bytearray] = {}

    def __call__(self, event: dict[str, Any]) -> None:
        if event.get("step"):
            key, status = (event.get("platform") or "", event["step"]), event["status"]
            if status == "output":
                written = self.running.setdefault(key, bytearray())
                written += event["data"]
                del written[:-LOG]
            elif status != "running":
                written = self.running.pop(key, bytearray())
                if status == "error" and not self.step:
                    self.step, self.output = event["step"], written
        if self.heard is not None:
            self.heard(event)
