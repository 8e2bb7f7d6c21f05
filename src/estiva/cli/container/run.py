"""`run` and `create` (cold path)."""

from __future__ import annotations

import os

from estiva.cli.container.cidfile import CidFile
from estiva.cli.context import refuse_trust, warn
from estiva.cli.options.run import TABLE, translate
from estiva.cmdline.parser import FLAG, TEXT, WORD, Options, Verb
from estiva.errors import Conflict, EstivaError, InvalidInput, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.cli.context import Context
    from estiva.engine.state.config_types import Config


class LateProgress:
    """Warnings, and the progress of a pull, on stderr; loaded when there is something to tell."""

    def __init__(self, image: str, quiet: bool) -> None:
        self.image = image
        self.quiet = quiet
        self.progress: Any = None

    def __call__(self, event: dict[str, Any]) -> None:
        if event["status"] == "warning":
            import sys

            from estiva.errors import oneline

            sys.stderr.write(f"WARNING: {oneline(event['message'])}\n")
            return
        if self.quiet or event["status"] == "starting":
            return  # nothing is known of the image yet, not even that it exists
        if self.progress is None:
            import sys

            from estiva.cli.format.progress import Progress
            from estiva.errors import oneline

            print(f"Pulling image '{oneline(self.image)}'", file=sys.stderr, flush=True)
            self.progress = Progress(2)
        self.progress(event)


def _pull(options: Options) -> str:
    when = options.text("pull", "missing")
    if when not in ("always", "missing", "never"):
        raise InvalidInput(f'invalid pull option: \'{when}\': must be one of "always", "missing" or "never"')
    return when


# what cli/options/networks.py is loaded for
NETWORKING = ("link", "ip", "ip6", "link-local-ip", "mac-address", "network-alias", "net-alias")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # the usual ones: of others oci/platform.py knows


def _warn(options: Options, config: Config, image: Any) -> None:
    """Tell what the image asks for and does not get: a machine of its own kind."""
    asked = options.given("platform") or image is None
    if not asked and image.config.get("architecture") != ARCHITECTURES.get(os.uname().machine):
        from estiva.engine.images import platforms

        other = platforms.mismatch(image, config["Image"], None)
        if other:
            warn(other)


def _networking(options: Options) -> dict[str, Any] | None:
    """EndpointsConfig, where something of it was asked for."""
    if not any(map(options.given, NETWORKING)):
        words = options.many("network") + options.many("net")
        if len(words) < 2 and not any("=" in word for word in words):
            return None
    from estiva.cli.options import networks

    return networks.endpoints(options) or None


def run(context: Context, options: Options) -> int:
    if options.given("explain"):
        from estiva.cli.explain import start as explaining

        return explaining.run(context, options, run)
    if options.given("disable-content-trust"):
        refuse_trust(options)
    config, host_config = translate(options)
    pull, detach = _pull(options), options.flag("detach")
    if detach:
        if options.given("attach"):
            raise Conflict("conflicting options: cannot specify both --attach and --detach")
        config.update(AttachStdin=False, AttachStdout=False, AttachStderr=False, StdinOnce=False)
    elif config["Tty"] and config["AttachStdin"] and not os.isatty(0):
        problem = InvalidInput("the input device is not a TTY", hint="leave out -t, or run it in a terminal")
        problem.exit_status = 1  # docker's client finds it out before it asks the engine
        raise problem
    keys = ""
    if options.given("detach-keys"):
        from estiva.cli.container import foreground

        keys = foreground.detach_keys(options)
    from estiva.engine.containers.create import prepare

    with CidFile(options.text("cidfile")) as file:
        start = prepare(
            context.engine,
            config,
            host_config,
            name=options.text("name") or None,
            pull=pull,
            platform=options.text("platform") or None,
            progress=LateProgress(config["Image"], options.flag("quiet")),
            networking=_networking(options),
        )
        try:
            file.write(start.id)
        except BaseException:
            start.close()
            raise
    _warn(options, start.record["Config"], start.image)
    if detach:
        with start:
            start.go(detach=True)
            try:
                start.started()
            finally:
                print(start.id)  # also of one whose command can't be executed: it stays, with what is wrong
        return 0
    from estiva.cli.container import foreground

    return foreground.attend(
        start,
        stdin=config["OpenStdin"],
        stdout=config["AttachStdout"],
        stderr=config["AttachStderr"],
        sig_proxy=options.flag("sig-proxy", True),
        detach_keys=keys,
    )


def create(context: Context, options: Options) -> int:
    try:
        return _create(context, options)
    except EstivaError as error:
        from estiva.settings.words import Unsafe

        if not isinstance(error, (InvalidInput, Unsupported, Unsafe)):
            # as docker's: 125 is for words that can't be meant, and for its own settings
            error.exit_status = error.exit_status or 1
        raise


def _only_here(host_config: dict[str, Any], name: str) -> bool:
    """Whether what is asked for may well be meant: docker's daemon says no to it, not docker's client."""
    from estiva.engine.state import names

    try:
        names.check(name or "fine")
    except InvalidInput:
        return True
    binds = [mount for mount in host_config.get("Mounts") or () if mount["Type"] == "bind"]
    return any(not os.path.exists(mount.get("Source") or "/") for mount in binds)


def _create(context: Context, options: Options) -> int:
    if options.given("disable-content-trust"):
        refuse_trust(options)
    config, host_config = translate(options)
    pull = _pull(options)
    from estiva.engine.containers import control
    from estiva.engine.containers import create as creation
    from estiva.engine.images import lookup

    with CidFile(options.text("cidfile")) as file:
        try:
            record = creation.create(
                context.engine,
                config,
                host_config,
                name=options.text("name") or None,
                pull=pull,
                platform=options.text("platform") or None,
                progress=LateProgress(config["Image"], options.flag("quiet")),
                networking=_networking(options),
            )
        except InvalidInput as error:
            if _only_here(host_config, options.text("name")):
                error.exit_status = 1
            raise
        try:
            file.write(record["Id"])
        except BaseException:
            control.remove(context.engine, record["Id"], volumes=True)
            raise
    _warn(options, record["Config"], lookup.find(context.engine, record["Image"]))
    print(record["Id"])
    return 0


DETACH_KEYS = (
    "",
    "detach-keys",
    TEXT,
    "KEYS",
    "leave a terminal by these, such as ctrl-a,d (default ctrl-p,ctrl-q)",
)
RUN = Verb(
    run,
    "IMAGE [COMMAND] [ARG...]",
    "Create a container from an image and run it",
    (
        *TABLE,
        ("d", "detach", FLAG, "", "run in the background and print the container's id"),
        DETACH_KEYS,
        ("", "sig-proxy", FLAG, "", "pass signals on to a command without a terminal (default true)"),
        ("", "explain", WORD, "json", "tell every step of the start, with its system calls, on stderr"),
    ),
    least=1,
    interspersed=False,
    failure=125,
    examples=(
        ("estiva run --rm alpine echo hello", "run a command and remove the container"),
        ("estiva run -it -v .:/src -w /src python:3.13 bash", "a shell over the current folder"),
        ("estiva run -d --name web -p 8080:80 -m 256m nginx", "a service, limited to 256 MiB"),
    ),
)

CREATE = Verb(
    create,
    "IMAGE [COMMAND] [ARG...]",
    "Create a container without starting it",
    TABLE,
    least=1,
    interspersed=False,
    failure=125,
    examples=(("estiva create --name job alpine sh -c 'echo hi'", "start it with 'estiva start -a job'"),),
)
