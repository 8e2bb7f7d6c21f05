"""`estiva registry`: serve a registry, and collect its garbage."""

from __future__ import annotations

import sys

from estiva.cmdline.parser import FLAG, TEXT, Options, Verb
from estiva.errors import InvalidInput, brief
from estiva.oci import units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.cli.context import Context
    from estiva.registry.server.config import Config


def _config(context: Context, options: Options) -> Config:
    """The file, if one is named, and what goes before it."""
    from estiva.registry.server import config as server_config

    path = options.text("config")
    config = server_config.load(path) if path else server_config.Config()
    config.root = options.text("root") or config.root or f"{context.engine.paths.root}/registry"
    return config


def serve(context: Context, options: Options) -> None:
    from estiva.registry.server import server

    config = _config(context, options)
    config.read_only = config.read_only or options.flag("read-only")
    config.access_log = options.text("access-log") or config.access_log

    def ready(address: str) -> None:
        print(f"serving {config.root} on {address}", flush=True)

    server.serve(
        options.text("listen") if options.given("listen") else None,
        ready=ready,
        htpasswd=options.text("htpasswd") or None,
        certificate=options.text("tls-cert") or None,
        key=options.text("tls-key") or None,
        config=config,
        log=(lambda line: print(line, file=sys.stderr, flush=True)) if options.flag("verbose") else None,
    )


def seconds(text: str) -> float:
    """A time such as 90s, 30m, 24h, 7d. Raises InvalidInput."""
    try:
        return units.duration(f"{text}s" if text.isdigit() else text, days=True) / 1e9
    except ValueError:
        raise InvalidInput(
            f"'{brief(text, 60)}' is not a time", hint="write it as 90s, 30m, 24h or 7d"
        ) from None


def gc(context: Context, options: Options) -> None:
    from estiva.registry.server import maintenance

    wanted: dict[str, object] = {}
    if options.given("grace"):
        wanted["grace"] = seconds(options.text("grace"))
    if options.flag("untagged"):
        wanted["untagged"] = True
    if options.flag("dry-run"):
        wanted["dry_run"] = True
    report = maintenance.collect_now(_config(context, options), wanted)
    word = "would go" if options.flag("dry-run") else "gone"
    for name in ("sessions", "manifests", "blobs", "content"):
        if report[name]:
            print(f"{report[name]} {LABELS[name]} {word}")
    print(f"{report['bytes']} bytes {'to be freed' if options.flag('dry-run') else 'freed'}")


LABELS = {
    "sessions": "idle uploads",
    "manifests": "manifests",
    "blobs": "blobs of repositories",
    "content": "files that nothing referred to",
}

CONFIG = ("c", "config", TEXT, "FILE", "a TOML file (docs/registry.md); options go before it")
ROOT = ("", "root", TEXT, "DIR", "where it keeps its content")

SERVE = Verb(
    serve,
    "",
    "Serve a registry that all clients of the OCI distribution spec can use",
    (
        CONFIG,
        ("", "listen", TEXT, "HOST:PORT", "where to listen (default 127.0.0.1:5000)"),
        ROOT,
        ("", "htpasswd", TEXT, "FILE", "let in only the users of this file"),
        ("", "tls-cert", TEXT, "FILE", "certificate, to serve https"),
        ("", "tls-key", TEXT, "FILE", "its key"),
        ("", "read-only", FLAG, "", "refuse to push and to delete"),
        ("", "access-log", TEXT, "FILE", "a line of JSON for each request; - is stdout"),
        ("", "verbose", FLAG, "", "a line on stderr for each request"),
    ),
    most=0,
    examples=(
        ("estiva registry serve --listen 0.0.0.0:5000 --root /srv/registry", "until it is interrupted"),
        ("estiva registry serve -c /etc/estiva/registry.toml", "users, rules, upstreams"),
    ),
)
GC = Verb(
    gc,
    "",
    "Remove what no manifest refers to from a registry, also while it serves",
    (
        CONFIG,
        ROOT,
        ("", "grace", TEXT, "TIME", "leave alone what is newer (default 24h)"),
        ("", "untagged", FLAG, "", "manifests without a tag too"),
        ("", "dry-run", FLAG, "", "only say what would go"),
    ),
    most=0,
    examples=(("estiva registry gc --root /srv/registry --untagged --grace 1h", "after tags were deleted"),),
)
