"""A command from its start to its end: in a container of its own, or in one that runs."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Any

from estiva.engine.containers import exec as exec_
from estiva.engine.launch.launch import Launched, Refused
from estiva.engine.launch.start import IDLE
from estiva.sdk import steps, values
from estiva.sdk.begun import Begun
from estiva.sdk.options import host_config_of, networking_of, variables_of
from estiva.sdk.pipes import Pipes
from estiva.sdk.run_options import CreateOptions
from estiva.sdk.sandbox.snapshots import Snapshot
from estiva.sdk.steps import Wait
from estiva.sdk.told import theirs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from estiva.engine import Engine
    from estiva.engine.state.types import OCI, ExecPlan, Outcome, RunState
    from estiva.sdk.pipes import Sent
    from estiva.sdk.result import Result
    from estiva.sdk.steps import Task

    Way = Callable[[tuple[int, int, int]], Sent]  # what starts a command, with these for its streams
    Output = Callable[[str, bytes], object]


def heard(on_output: Any) -> Any:
    return None if values.function("on_output", on_output) is None else theirs(on_output)


def settings(
    image: Any, command: Any, options: Mapping[str, Any], kind: type = CreateOptions
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """(Config, HostConfig, options of create.prepare) of what the caller gave. Without a command (None) the
    main process is our own init, which waits. Raises InvalidInput."""
    if isinstance(image, Snapshot):
        image = image.id
    config: dict[str, Any] = {
        "Image": values.text("image", image),
        "Cmd": [IDLE] if command is None else values.words("the command", command),
    }
    if not config["Image"]:
        raise values.wrong("image", "a name or id", image)
    host_config = host_config_of(options, config, kind)
    if command is None:
        config["Entrypoint"] = []
        host_config["Init"] = True
    chosen = {
        "name": values.text("name", options.get("name")) or None,
        "platform": values.text("platform", options.get("platform")) or None,
        "pull": options.get("pull") or "missing",
        "networking": networking_of(options, kind),
    }
    return config, host_config, chosen


def finished(
    engine: Engine,
    image: Any,
    command: Any,
    input: Any,
    timeout: Any,
    max_output: Any,
    on_output: Output | None,
    options: Mapping[str, Any],
    kind: type,
) -> Result:
    """Run a command in a new container and remove it: see estiva.run."""
    timeout = values.seconds(timeout)
    pipes = piped(input, max_output, on_output)
    begun = alone(engine, image, command, options, kind, stdin=input is not None)
    with pipes, begun.with_stdio(pipes.theirs) as start:
        try:
            pipes.close_theirs()
            start.started()
            pipes.communicate(timeout, start.launched)
            outcome = start.wait()
        finally:
            pipes.close()  # before the container's end is asked for
        return pipes.result(outcome, timeout)


def piped(input: Any, max_output: Any, on_output: Output | None) -> Pipes:
    """The pipes to a command. Raises InvalidInput."""
    return Pipes(values.data(input), values.whole("max_output", max_output), heard(on_output))


def alone(
    engine: Engine, image: Any, command: Any, options: Mapping[str, Any], kind: type, *, stdin: bool
) -> Begun:
    """A new container for one command. Raises InvalidInput."""
    config, host_config, chosen = settings(image, command or (), options, kind)
    config["OpenStdin"] = stdin
    if not options.get("log_driver"):
        host_config["LogConfig"] = {
            "Type": "none"
        }  # all that it writes comes here, and it is gone afterwards
    return Begun(engine, config, host_config, **chosen)


def plan(
    engine: Engine,
    ref: str,
    command: Any,
    *,
    env: Any,
    env_file: Any = (),
    user: Any,
    workdir: Any,
    privileged: Any,
    stdin: bool = False,
    tty: Any = False,
    bound: bool = True,
) -> ExecPlan:
    """What the parent of one more command in a container needs. Raises InvalidInput, NotFound, Conflict."""
    return exec_.plan(
        engine,
        ref,
        values.words("the command", command),
        env=_variables(env, env_file),
        user=values.user(user),
        workdir=_folder(workdir),
        tty=values.flag("tty", tty),
        stdin=stdin,
        privileged=values.flag("privileged", privileged),
        bound=bound,
    )


def process_of(
    live: RunState, command: Any, *, env: Any, env_file: Any, user: Any, workdir: Any, privileged: Any
) -> OCI:
    """The OCI process of one more command in a container that runs. Raises InvalidInput."""
    return exec_.make_process(
        live,
        values.words("the command", command),
        _variables(env, env_file),
        values.user(user),
        _folder(workdir),
        False,
        values.flag("privileged", privileged),
    )


def _variables(env: Any, env_file: Any) -> list[str]:
    return variables_of(values.paths("env_file", env_file)) + values.environment(env)


def _folder(workdir: Any) -> str:
    return values.path("workdir", workdir) if workdir not in ("", None) else ""


def executed(
    ways: Iterable[Way], input: Any, timeout: float | None, max_output: Any, on_output: Output | None
) -> Result:
    """Run one more command in a container, in the first of the ways that serves it: see Container.exec."""
    for way in ways:
        try:
            return steps.run(once(way, piped(input, max_output, on_output), timeout))
        except Refused:
            continue
    raise AssertionError("the last way takes all")


def once(way: Way, pipes: Pipes, timeout: float | None) -> Task[Result]:
    """Run one more command in a container in one way. Raises Refused, EstivaError."""
    with pipes:
        sent = way(pipes.theirs)
        try:
            pipes.close_theirs()
            outcome = yield from executing(sent, pipes, timeout)
        except BaseException:
            pipes.forget()
            raise
        finally:
            sent.close()  # what runs still is killed
    return pipes.result(outcome, timeout)


def executing(sent: Sent, pipes: Pipes, timeout: float | None) -> Task[Outcome]:
    """From the start of a command to its end."""
    if isinstance(sent, Launched):
        yield Wait({sent.channel.fileno(): select.POLLIN})
    sent.started()
    yield from pipes.exchange(timeout, sent)
    return sent.wait()


def detached(engine: Engine, wanted: ExecPlan) -> None:
    """Start one more command in a container, and leave it alone."""
    launched = exec_.launch(engine, wanted, (-1, -1, -1))
    try:
        launched.started()
    finally:
        launched.close()
