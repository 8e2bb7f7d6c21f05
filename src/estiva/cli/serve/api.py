"""`estiva api`: serve the Docker Engine API, and the systemd units that have it served."""

from __future__ import annotations

import sys

from estiva.cmdline.parser import FLAG, LIST, TEXT, Options, Verb
from estiva.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.api.listening.sockets import Listener, Tls
    from estiva.cli.context import Context

SOCKET = "unix:///run/estiva/docker.sock"
FILES = ("tlscacert", "tlscert", "tlskey")


def serve(context: Context, options: Options) -> int:
    from estiva.cli.context import warn
    from estiva.cli.serve.registry import seconds
    from estiva.engine import Engine

    idle = seconds(options.text("idle-timeout")) if options.given("idle-timeout") else 0.0
    if options.given("idle-timeout") and idle <= 0:
        raise InvalidInput(
            "--idle-timeout must be more than 0", hint="without it the server never ends by itself"
        )
    needs = _tls_paths(options)
    try:
        from estiva.api.listening import library

        library.install()
        from estiva.api import server
        from estiva.api.listening import sockets
    except ImportError as error:
        raise InvalidInput(f"the API needs the Python package {error.name}") from None
    tls: Tls | None = sockets.Tls(*needs) if needs else None

    def ready(listener: Listener) -> None:
        if listener.warning:
            warn(listener.warning)
        print(f"serving the Docker Engine API on {listener.address}", flush=True)

    engine = Engine(context.root, context.run_root)  # whose monitors are forked by the spawner, not from here
    listen = options.many("listen") or [f"unix://{engine.paths.run_root}/docker.sock"]
    server.serve(
        engine,
        listen,
        tls=tls,
        insecure=options.flag("insecure"),
        idle=idle,
        reaper=options.flag("reaper", True),
        ready=ready,
    )
    return 0


def _tls_paths(options: Options) -> list[str]:
    """CA, certificate and key, or none of them. Raises InvalidInput."""
    given = [name for name in FILES if options.text(name)]
    missing = [name for name in FILES if name not in given]
    if not given and not options.flag("tlsverify"):
        return []
    if missing:
        raise InvalidInput(
            f"TLS needs --{' and --'.join(missing)}",
            hint="the CA says which clients may connect; certificate and key are the server's own",
        )
    if not options.flag("tlsverify", True):
        raise InvalidInput(
            "--tlsverify=false is refused: whoever reaches the server could do all that root can"
        )
    return [options.text(name) for name in FILES]


UNITS = ("estiva-api.socket", "estiva-api.service")
IDLE = "5m"


def units(context: Context, options: Options) -> int:
    """Write the units into a folder, or print them."""
    import grp
    import os

    from estiva.cli.resume import command, quoted
    from estiva.files import atomic_write

    words = command(context, ["api", "serve", "--listen", "fd://", "--idle-timeout", IDLE])
    run_root = context.engine.paths.run_root
    named = any(entry.gr_name == "docker" for entry in grp.getgrall())
    mode, group = ("0660", "docker") if named else ("0600", "root")
    changes = {
        "ListenStream": quoted(f"{run_root}/docker.sock"),
        "SocketMode": mode,
        "SocketGroup": group,
        "ExecStart": words,
    }
    folder = options.text("to")
    for name in UNITS:
        text = _unit(name, changes)
        if folder:
            if not os.path.isdir(folder):
                raise InvalidInput(f"{folder} is no folder", hint="systemd's own is /etc/systemd/system")
            atomic_write(f"{folder}/{name}", text.encode(), mode=0o644)
            print(f"{folder}/{name}")
        else:
            sys.stdout.write(f"# {name}\n{text}\n")
    return 0


def _unit(name: str, changes: dict[str, str]) -> str:
    """A unit with other values than it is shipped with, which are for an `estiva` in the system's path."""
    from importlib import resources

    lines = resources.files("estiva.cli.serve").joinpath("units", name).read_text("utf-8").splitlines()
    fields = ((line.partition("=")[0], line) for line in lines)
    return "".join(f"{key}={changes[key]}\n" if key in changes else f"{line}\n" for key, line in fields)


SERVE = Verb(
    serve,
    "",
    "Serve the Docker Engine API, for docker's own client, compose and libraries",
    (
        ("", "listen", LIST, "ADDRESS", f"unix://PATH, tcp://HOST:PORT or fd:// (default {SOCKET})"),
        (
            "",
            "idle-timeout",
            TEXT,
            "TIME",
            "end when nobody has asked for so long, such as 5m (default never)",
        ),
        ("", "tlsverify", FLAG, "", "over TCP: TLS, for clients that have a certificate of the CA's"),
        ("", "tlscacert", TEXT, "FILE", "that CA's certificate"),
        ("", "tlscert", TEXT, "FILE", "the server's certificate"),
        ("", "tlskey", TEXT, "FILE", "its key"),
        ("", "insecure", FLAG, "", "TCP without TLS, on this machine's loopback only"),
        ("", "reaper", FLAG, "", "Estiva's own reaper for testcontainers, instead of ryuk (default true)"),
    ),
    most=0,
    examples=(
        ("estiva api serve", "until it is interrupted"),
        ("DOCKER_HOST=unix:///run/estiva/docker.sock docker ps", "docker's client, on Estiva"),
        ("docker context create estiva --docker host=unix:///run/estiva/docker.sock", "or so"),
    ),
)
UNIT = Verb(
    units,
    "",
    "Print systemd units that start the API when somebody asks for it",
    (("", "to", TEXT, "FOLDER", "write them there instead"),),
    most=0,
    examples=(
        ("estiva api units --to /etc/systemd/system", "then: systemctl enable --now estiva-api.socket"),
    ),
)
