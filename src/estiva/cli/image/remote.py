"""Verbs that speak to registries: pull, push, login, logout."""

from __future__ import annotations

import os
import sys

from estiva.cli.image.copy import COMPRESSION, level
from estiva.cmdline.parser import FLAG, TEXT, Options, Verb
from estiva.errors import EstivaError, InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.cli.context import Context

MAX_SECRET = 64 << 10


def pull(context: Context, options: Options) -> int:
    from estiva.cli.context import refuse_trust, tell
    from estiva.engine.images import registry

    refuse_trust(options)
    status, every = 0, options.flag("all-tags")
    for text in options.arguments:
        try:
            if every:
                _refuse_tag(text)
            for name in registry.remote_tags(text) if every else [text]:
                _pull(context, options, name)
        except EstivaError as error:
            tell(error)
            status = 1
    return status


def _pull(context: Context, options: Options, name: str) -> None:
    from estiva.cli.context import warn
    from estiva.cli.format.progress import Progress
    from estiva.engine.images import lookup, platforms, registry

    reference, quiet = lookup.parse(name), options.flag("quiet")
    if not quiet and not reference.digest:
        print(f"{reference.tag}: Pulling from {reference.repository}", flush=True)
    before = lookup.find(context.engine, name)
    whole = before is not None and lookup.is_whole(context.engine, before)
    with Progress(1) as progress:
        image = registry.pull(
            context.engine,
            name,
            platform=options.text("platform") or None,
            every=options.flag("all-platforms"),
            progress=None if quiet else progress,
        )
    other = platforms.mismatch(image, reference.familiar, options.text("platform") or None)
    if other and not options.flag("all-platforms"):
        warn(other)
    if not quiet:
        for digest in lookup.digests(context.engine, image, reference):
            print(f"Digest: {digest}")
        same = before is not None and before.id == image.id
        word = "Image is up to date" if same else "Downloaded newer image"
        word = word if whole or not same else "Fetched damaged layers again"
        print(f"Status: {word} for {reference.familiar}")
    print(str(reference), flush=True)


def _refuse_tag(text: str) -> None:
    from estiva.engine.images import lookup

    reference = lookup.parse_name(text)
    if reference.tag or reference.digest:
        raise InvalidInput(
            f"{text}: tag can't be used with --all-tags/-a",
            hint=f"give the name only: {reference.familiar_name}",
        )


def push(context: Context, options: Options) -> None:
    from estiva.cli.context import refuse_trust
    from estiva.engine.images import lookup

    refuse_trust(options)
    text, quiet = options.arguments[0], options.flag("quiet")
    if options.flag("all-tags"):
        _refuse_tag(text)
        names = lookup.tags(context.engine, text)
    else:
        lookup.resolve(context.engine, text, hint=f"{lookup.HERE}; `estiva tag IMAGE {text}` names one so")
        names = [text]
    if not quiet:
        print(f"The push refers to repository [{lookup.parse(text).name}]", flush=True)
    for name in names:
        _push(context, options, name)


def _push(context: Context, options: Options, name: str) -> None:
    from estiva.cli.format.progress import Progress
    from estiva.engine.images import lookup, registry

    reference, quiet = lookup.parse(name), options.flag("quiet")
    with Progress(1) as progress:
        digest = registry.push(
            context.engine,
            name,
            platform=options.text("platform") or None,
            compression=options.text("compression"),
            level=level(options),
            progress=None if quiet else progress,
        )
    print(str(reference) if quiet else f"{reference.tag or 'digest'}: digest: {digest}", flush=True)


def login(context: Context, options: Options) -> None:
    from estiva.engine.images import registry

    server = "".join(options.arguments)
    user, password = options.text("username"), options.text("password")
    if options.flag("password-stdin"):
        if options.given("password"):
            raise InvalidInput("--password and --password-stdin are mutually exclusive")
        if not user:
            raise InvalidInput("must provide --username with --password-stdin")
        password = sys.stdin.read(MAX_SECRET).rstrip("\r\n")
    elif options.given("password"):
        print("WARNING! --password shows in the list of processes; use --password-stdin.", file=sys.stderr)
    if not user or not password:
        if not os.isatty(0):
            raise InvalidInput(
                "nobody can be asked for the credentials here", hint="use -u and --password-stdin"
            )
        import getpass

        user = user or input("Username: ").strip()
        password = password or getpass.getpass("Password: ")
    if not user or not password:
        raise InvalidInput("user name and password are both needed")
    where = registry.login(server, user, password)
    print(f"Login Succeeded (kept in {where})")


def logout(context: Context, options: Options) -> None:
    from estiva.engine.images import registry

    server = "".join(options.arguments)
    host = registry.registry_host(server)
    print(f"Removing login credentials for {host}" if registry.logout(server) else f"Not logged in to {host}")


PLATFORM = ("", "platform", TEXT, "OS/ARCH", "platform of the image (default: this machine's)")
QUIET = ("q", "quiet", FLAG, "", "print only the name")
TRUST = ("", "disable-content-trust", FLAG, "", "")

PULL = Verb(
    pull,
    "NAME[:TAG|@DIGEST] [NAME...]",
    "Fetch images from a registry",
    (
        ("a", "all-tags", FLAG, "", "all tags that the repository NAME has"),
        PLATFORM,
        ("", "all-platforms", FLAG, "", "the images of all platforms, under the one name"),
        QUIET,
        TRUST,
    ),
    least=1,
    examples=(
        ("estiva pull alpine:3.20", "from Docker Hub"),
        ("estiva pull --all-tags registry.example.org/web", "every tag of it"),
        ("estiva pull --platform linux/arm64 registry.example.org/web", "for another machine"),
    ),
)
PUSH = Verb(
    push,
    "NAME[:TAG]",
    "Send an image to a registry, with all platforms that its name stands for",
    (
        ("a", "all-tags", FLAG, "", "all tags of the repository NAME that are here"),
        ("", "platform", TEXT, "OS/ARCH", "the image of this platform alone"),
        *COMPRESSION,
        QUIET,
        TRUST,
    ),
    least=1,
    most=1,
    examples=(
        ("estiva push localhost:5000/web:1.2", "to a registry on this machine"),
        ("estiva push --all-tags localhost:5000/web", "every tag of it that is here"),
        ("estiva push --compression zstd registry.example.org/web:1.2", "smaller, and quicker to unpack"),
    ),
)
LOGIN = Verb(
    login,
    "[SERVER]",
    "Log in to a registry",
    (
        ("u", "username", TEXT, "NAME", "who"),
        ("p", "password", TEXT, "PASSWORD", "the password; better use --password-stdin"),
        ("", "password-stdin", FLAG, "", "read the password from stdin"),
    ),
    most=1,
    examples=(("estiva login -u ana --password-stdin registry.example.org < token", "in a script"),),
)
LOGOUT = Verb(
    logout,
    "[SERVER]",
    "Forget the credentials of a registry",
    most=1,
    examples=(("estiva logout registry.example.org", "Docker Hub without a name"),),
)
