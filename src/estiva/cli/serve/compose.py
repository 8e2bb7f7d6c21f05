"""`estiva compose`: the compose program that is installed, against a socket that lives as long as it does.

The server is a child of ours, and we become compose: terminal, signals and exit status are its own. The
kernel tells the server when compose has ended, however it ends (PR_SET_PDEATHSIG, prctl(2)); what compose has
started are containers like all others, which go on.
"""

from __future__ import annotations

import os

from estiva import programs
from estiva.cmdline.parser import Options, Verb
from estiva.errors import EngineError, NotFound, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from estiva.cli.context import Context

# where docker's client looks for its plugins, the user's own first
PLUGINS = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)
HINT = "install docker-compose (Debian, Ubuntu, Fedora), or docker-compose-plugin of Docker's repository"
OTHERS = ("DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_TLS")  # of another engine


def compose(context: Context, options: Options) -> int:
    if os.geteuid():  # rather than what compose says of a server that may not read anything
        raise Unsupported("containers can only be run by root, yet", hint="use sudo")
    program = find()
    if not program:
        raise NotFound("no compose program is installed", hint=HINT)
    socket = serving(context)
    environment = {name: value for name, value in os.environ.items() if name not in OTHERS}
    environment["DOCKER_HOST"] = f"unix://{socket}"
    os.execve(program, [program, *options.arguments], environment)


def find() -> str:
    """The path of compose, "" where there is none."""
    home = os.environ.get("HOME", "")
    own = os.environ.get("DOCKER_CONFIG") or (f"{home}/.docker" if home else "")
    for folder in (f"{own}/cli-plugins", *PLUGINS) if own else PLUGINS:
        path = f"{folder}/docker-compose"
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return programs.find("docker-compose")


def serving(context: Context) -> str:
    """Start a server that ends when this process does, and wait for it; the path of its socket. Raises
    EngineError, and what keeps it from listening."""
    import tempfile

    folder = tempfile.mkdtemp(prefix="estiva-compose-")  # 0700
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    parent = os.getpid()
    child = os.fork()
    if not child:
        _serve(context, folder, parent, theirs)
    os.close(theirs)
    with open(ours, "rb") as told:
        word = told.read(4096)
    if word != b"ready":
        os.waitpid(child, 0)
        text = word.decode("utf-8", "replace").removeprefix("error ")
        raise EngineError(f"the API can't be served to compose: {text or 'its process has ended'}")
    return f"{folder}/docker.sock"


def _serve(context: Context, folder: str, parent: int, told: int) -> NoReturn:
    """In the child: until the parent has ended. It holds no stream that a reader of compose's waits for."""
    import shutil
    import signal

    from estiva.linux import process

    try:
        os.setsid()  # Ctrl-C is compose's alone
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        process.set_parent_death_signal(signal.SIGTERM)
        if os.getppid() == parent:
            _until_told(context, folder, told)
    except BaseException as error:
        os.write(told, f"error {error}".encode()[:4096])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)


def _until_told(context: Context, folder: str, told: int) -> None:
    from estiva.api.listening import library

    library.install()  # before anything loads all of it
    from estiva.api import server
    from estiva.engine import Engine

    def ready(listener: object) -> None:
        os.write(told, b"ready")
        os.close(told)

    server.serve(Engine(context.root, context.run_root), [f"unix://{folder}/docker.sock"], ready=ready)


COMPOSE = Verb(
    compose,
    "ARG...",
    "Run the compose program that is installed, on Estiva",
    whole=True,
    examples=(
        ("estiva compose up -d", "the services of compose.yaml"),
        ("estiva compose down -v", "and all of them gone"),
        ("estiva compose up --help", "what compose says of a command of its own; without any, of them all"),
    ),
)
