"""`build`: an image from a Dockerfile."""

from __future__ import annotations

import os
import sys

from estiva.cli.context import refuse_trust, warn
from estiva.cmdline.parser import FLAG, LIST, TEXT, Options, UsageError, Verb, boolean
from estiva.errors import InvalidInput, NotFound, Unsupported, oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.cli.context import Context

MAX_DOCKERFILE = 16 << 20
ARCHIVES = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ")
NOT_YET = (
    "add-host", "attest", "cache-to", "cgroup-parent", "cpu-period", "cpu-quota", "cpu-shares", "cpuset-cpus",
    "cpuset-mems", "isolation", "memory", "memory-swap", "metadata-file", "output", "security-opt",
    "shm-size", "ulimit",
)  # fmt: skip


class BuildProgress:
    """Lines on stderr: each step as it begins, what its command writes, whether the cache had it."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.pull: Any = None
        self.open = False  # a command's last line has no end yet

    def __call__(self, event: dict[str, Any]) -> None:
        if "id" in event:
            self.pulling(event)
            return
        status = event["status"]
        if status == "warning":
            self.line(f"warning: {oneline(event['message'])}")
        elif self.quiet:
            return
        elif status == "output":
            sys.stderr.buffer.write(event["data"])
            sys.stderr.buffer.flush()
            self.open = not event["data"].endswith(b"\n")
        elif status == "running":
            self.line(f"[{event['step']}] {oneline(event['instruction'])}")
        elif status == "cached":
            self.line(f"[{event['step']}] CACHED")
        elif event["seconds"] >= 0.05:
            self.line(f"[{event['step']}] {status.upper()} {event['seconds']:.1f}s")

    def pulling(self, event: dict[str, Any]) -> None:
        if self.quiet:
            return
        if self.pull is None:
            from estiva.cli.format.progress import Progress

            self.pull = Progress(2)
        self.pull(event)
        if event["status"] == "complete":
            self.pull = None

    def line(self, text: str) -> None:
        print(f"\n{text}" if self.open else text, file=sys.stderr, flush=True)
        self.open = False


def build(context: Context, options: Options) -> None:
    _refuse(options)
    iidfile = options.text("iidfile")
    directory, dockerfile, text = _sources(options)
    from estiva.engine import builds

    quiet = options.flag("quiet") or options.text("progress") == "quiet"
    image_id = builds.build(
        context.engine,
        progress=BuildProgress(quiet),
        context=directory,
        dockerfile=dockerfile,
        dockerfile_text=text,
        tags=options.many("tag"),
        build_args=_arguments(options.many("build-arg")),
        build_contexts=_pairs("build-context", options.many("build-context")),
        labels=_labels(options.many("label")),
        target=options.text("target") or None,
        no_cache=options.flag("no-cache"),
        no_cache_filter=[name for words in options.many("no-cache-filter") for name in words.split(",")],
        pull=options.flag("pull"),
        platform=options.text("platform") or None,
        network=options.text("network", "default"),
        secrets=dict(_secret(word) for word in options.many("secret")),
        ssh=dict(_ssh(word) for word in options.many("ssh")),
        allow=options.many("allow"),
    )
    if iidfile:
        from estiva.files import atomic_write

        atomic_write(iidfile, image_id.encode(), mode=0o644, sync=False)
    print(image_id)
    if not quiet:
        for tag in options.many("tag"):
            print(f"named {tag}", file=sys.stderr)


def _refuse(options: Options) -> None:
    """Say what isn't there yet, rather than leave it out in silence. Raises Unsupported, InvalidInput."""
    for name in NOT_YET:
        if options.given(name):
            raise Unsupported(f"build --{name} is not supported yet")
    for name in ("provenance", "sbom"):
        if options.given(name) and boolean(options.text(name)) is not False:
            raise Unsupported(
                f"build --{name} is not supported yet: the image would come without",
                hint=f"leave it out, or --{name}=false",
            )
    refuse_trust(options)
    if options.given("cache-from"):
        warn("build --cache-from is not supported yet: the cache is the local one")
    if not options.flag("rm", True):
        warn("build --rm=false has no effect: no step leaves a container behind")
    progress = options.text("progress", "auto")
    if progress == "tty":
        warn("build --progress tty is not supported yet: steps are shown as lines, as with plain")
    elif progress not in ("auto", "plain", "quiet"):
        raise InvalidInput(f"invalid --progress '{progress}'", hint="plain or quiet")


def _sources(options: Options) -> tuple[str | None, str | None, str | None]:
    """(context folder, path of the Dockerfile, text of the Dockerfile)."""
    place, file = options.arguments[0], options.text("file") or None
    if place == "-":
        if file is not None:
            raise InvalidInput(
                "the Dockerfile comes from stdin already: leave out -f", hint="or give a folder"
            )
        return None, None, _stdin()
    if "://" in place or place.startswith("git@"):
        raise Unsupported(
            f"a build context from {place} is not supported yet", hint="clone it, and give a folder"
        )
    if not os.path.isdir(place):
        raise NotFound(f"the build context {place} is not a folder")
    if file == "-":
        return place, None, _stdin()
    return place, file, None


def _stdin() -> str:
    if os.isatty(0):
        raise InvalidInput("there is no Dockerfile on stdin", hint="redirect one, or give a folder")
    data = sys.stdin.buffer.read(MAX_DOCKERFILE + 1)
    if data.startswith(ARCHIVES) or data[257:262] == b"ustar":
        raise Unsupported(
            "a build context as an archive on stdin is not supported yet", hint="unpack it first"
        )
    if len(data) > MAX_DOCKERFILE:
        raise InvalidInput(f"the Dockerfile on stdin is larger than {MAX_DOCKERFILE} bytes")
    try:
        return data.decode("utf-8-sig")
    except ValueError:
        raise InvalidInput("the Dockerfile on stdin is not UTF-8 text") from None


def _arguments(words: list[str]) -> dict[str, str]:
    """Build arguments; K alone takes the host's value, if there is one."""
    result = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key:
            raise UsageError(f"invalid build argument '{word}'")
        if equals or key in os.environ:
            result[key] = value if equals else os.environ[key]
    return result


def _labels(words: list[str]) -> dict[str, str]:
    from estiva.cli.options import values

    try:
        return values.labels((), words)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _pairs(option: str, words: list[str]) -> dict[str, str]:
    result = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals or not value:
            raise UsageError(f"invalid --{option} '{word}'", hint="NAME=VALUE")
        result[key] = value
    return result


def _fields(option: str, word: str, known: tuple[str, ...]) -> dict[str, str]:
    result = {}
    for field in word.split(","):
        key, equals, value = field.partition("=")
        if not equals or key not in known:
            raise UsageError(f"invalid --{option} '{word}': unexpected '{field}'")
        result[key] = value
    return result


def _secret(word: str) -> tuple[str, str | bytes]:
    """(id, path of a file or the bytes themselves) of id=NAME[,src=FILE|,env=VARIABLE]."""
    fields = _fields("secret", word, ("id", "src", "source", "env", "type"))
    name = fields.get("id") or ""
    if not name:
        raise UsageError(f"invalid --secret '{word}': it needs an id")
    path = fields.get("src") or fields.get("source") or ""
    variable = fields.get("env") or (path or name if fields.get("type") == "env" else "")
    if not variable and not path and name in os.environ:
        variable = name
    if variable:
        if variable not in os.environ:
            raise NotFound(f"the secret {name} is not there: no environment variable {variable}")
        return name, os.environb[variable.encode()]
    path = os.path.abspath(path or name)
    if not os.path.isfile(path):
        raise NotFound(f"the secret {name} is not there: no file {path}")
    return name, path


def _ssh(word: str) -> tuple[str, str]:
    """(id, path of an agent's socket) of ID[=SOCKET]."""
    name, _, path = word.partition("=")
    path = path or os.environ.get("SSH_AUTH_SOCK", "")
    if not path:
        raise NotFound(f"no agent for --ssh {word}", hint="start ssh-agent, or give ID=SOCKET")
    return name or "default", os.path.abspath(path)


BUILD = Verb(
    build,
    "FOLDER|-",
    "Build an image from a Dockerfile",
    (
        ("", "allow", LIST, "ENTITLEMENT", "network.host or security.insecure: what a RUN may ask for"),
        ("", "build-arg", LIST, "K[=V]", "set an ARG; K alone takes the host's value"),
        ("", "build-context", LIST, "NAME=FOLDER", "one more place for FROM and COPY --from"),
        ("f", "file", TEXT, "FILE", "the Dockerfile (default FOLDER/Dockerfile); - is stdin"),
        ("", "iidfile", TEXT, "FILE", "write the image's id to a file"),
        ("", "label", LIST, "K=V", "set a label"),
        ("", "network", TEXT, "MODE", "network of RUN: default, none, host or one of your own"),
        ("", "no-cache", FLAG, "", "run every step"),
        ("", "no-cache-filter", LIST, "STAGE", "run every step of these stages"),
        ("", "platform", TEXT, "OS/ARCH", "platform of the image"),
        ("", "progress", TEXT, "KIND", "plain or quiet"),
        ("", "pull", FLAG, "", "fetch the base images even if they are here"),
        ("q", "quiet", FLAG, "", "print only the image's id"),
        ("", "secret", LIST, "id=ID,src=FILE", "a secret for RUN --mount=type=secret; or env=VARIABLE"),
        ("", "ssh", LIST, "ID[=SOCKET]", "an ssh agent for RUN --mount=type=ssh"),
        ("t", "tag", LIST, "NAME[:TAG]", "name the image"),
        ("", "target", TEXT, "STAGE", "build up to this stage"),
        ("", "cache-from", LIST, "", ""),  # a warning
        # what is so anyway
        ("", "compress", FLAG, "", ""),
        ("", "disable-content-trust", FLAG, "", ""),
        ("", "force-rm", FLAG, "", ""),
        ("", "load", FLAG, "", ""),
        ("", "rm", FLAG, "", ""),
        # refused, but where they say what is so anyway
        ("", "provenance", TEXT, "", ""),
        ("", "sbom", TEXT, "", ""),
        ("c", "cpu-shares", LIST, "", ""),
        ("m", "memory", LIST, "", ""),
        ("o", "output", LIST, "", ""),
        *[("", name, LIST, "", "") for name in NOT_YET if name not in ("cpu-shares", "memory", "output")],
    ),
    least=1,
    most=1,
    examples=(
        ("estiva build -t web .", "the Dockerfile of this folder"),
        ("estiva build --secret id=token,src=token.txt -t web .", "a secret that stays out of the image"),
        ("estiva build --target test --build-arg V=2 .", "one stage, with an argument"),
    ),
)  # fmt: skip
