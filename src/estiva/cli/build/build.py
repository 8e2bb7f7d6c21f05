"""`build`: an image from a Dockerfile."""

from __future__ import annotations

import sys

from estiva.cli.build import limits, outcome, outputs, sources, words
from estiva.cli.build.progress.build import BuildProgress, chosen
from estiva.cli.context import refuse_trust, warn
from estiva.cmdline.parser import FLAG, LIST, TEXT, Verb
from estiva.errors import Unsupported, oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from estiva.cli.context import Context
    from estiva.cmdline.parser import Options


def build(context: Context, options: Options) -> int | None:
    _refuse(options)
    if options.given("call") or options.flag("check"):
        from estiva.cli.build import calls

        call = calls.asked(options)
        if call is not None:
            return calls.answer(context, options, call)
    kind = chosen(options.text("progress"), options.flag("quiet"), sys.stderr)
    if kind == "tty" and options.flag("shell-on-failure"):
        kind = "plain"  # the screen is the shell's, should there be one
    outcome.begin(options)
    asked = {**_asked(options), "check": kind != "quiet"}
    with BuildProgress(kind, ", ".join(options.many("tag"))) as progress:  # before the engine: it may fork
        from estiva.engine.builds import build as builds

        metadata: dict[str, Any] = {}
        told: Callable[[dict[str, Any]], None] = progress
        if options.flag("shell-on-failure"):
            from estiva.cli.build.shell import FailureShell

            told = shell = FailureShell(progress)
            asked["shell"] = shell.attend
        image_id = builds.build(context.engine, progress=told, metadata=metadata, **asked)
    outcome.write(options, image_id, outputs.named(options), metadata)
    if outputs.tells(options):
        print(image_id)
    if kind not in ("quiet", "rawjson") and outputs.names(options):
        for tag in options.many("tag"):
            print(f"named {tag}", file=sys.stderr)
    return None


def _asked(options: Options) -> dict[str, Any]:
    """What engine.builds.build is asked for. Raises UsageError and other EstivaErrors."""
    directory, dockerfile, text = sources.sources(options)
    return dict(  # noqa: C408
        context=directory,
        dockerfile=dockerfile,
        dockerfile_text=text,
        tags=options.many("tag"),
        build_args=words.arguments(options.many("build-arg")),
        build_contexts=words.pairs("build-context", options.many("build-context")),
        labels=words.labels(options.many("label")),
        target=options.text("target") or None,
        explain_cache=options.flag("explain-cache"),
        cache_from=options.many("cache-from"),
        cache_to=options.many("cache-to"),
        no_cache=options.flag("no-cache"),
        no_cache_filter=[name for names in options.many("no-cache-filter") for name in names.split(",")],
        pull=options.flag("pull"),
        **outputs.read(options),
        network=options.text("network", "default"),
        secrets=dict(words.secret(word) for word in options.many("secret")),
        ssh=dict(words.ssh(word) for word in options.many("ssh")),
        allow=options.many("allow"),
        limits=limits.read(options),
    )


def _refuse(options: Options) -> None:
    """Say what isn't there yet, rather than leave it out in silence. Raises Unsupported, InvalidInput."""
    refuse_trust(options)
    if options.text("builder", "default") not in ("", "default"):
        raise Unsupported(
            f"build --builder {oneline(options.text('builder'))} is not supported: there is one builder here",
            hint="leave it out; its name is default",
        )
    if not options.flag("rm", True):
        warn("build --rm=false has no effect: no step leaves a container behind")


BUILD = Verb(
    build,
    "FOLDER|URL|-",
    "Build an image from a Dockerfile",
    (
        ("", "allow", LIST, "ENTITLEMENT", "what a RUN may ask for: network.host, security.insecure, device"),
        ("", "build-arg", LIST, "K[=V]", "set an ARG; K alone takes the host's value"),
        ("", "build-context", LIST, "NAME=PLACE", "a folder, URL, image or OCI layout by a name"),
        ("", "cache-from", LIST, "NAME|type=...", "use a build cache from elsewhere: registry or local"),
        ("", "cache-to", LIST, "NAME|type=...", "write the build cache there: registry, local or inline"),
        ("", "call", TEXT, "KIND", "check, outline or targets of the Dockerfile, instead of a build"),
        ("", "check", FLAG, "", "tell what is likely a mistake in the Dockerfile, and build nothing"),
        ("", "explain-cache", FLAG, "", "tell of each step that runs which of its inputs has changed"),
        ("f", "file", TEXT, "FILE", "the Dockerfile (default FOLDER/Dockerfile), or its URL; - is stdin"),
        ("", "iidfile", TEXT, "FILE", "write the image's id to a file"),
        ("", "label", LIST, "K=V", "set a label"),
        ("", "metadata-file", TEXT, "FILE", "write what the build made to a file, as JSON"),
        ("", "network", TEXT, "MODE", "network of RUN: default, none, host or one of your own"),
        ("", "no-cache", FLAG, "", "run every step"),
        ("", "no-cache-filter", LIST, "STAGE", "run every step of these stages"),
        ("", "progress", TEXT, "KIND", "auto, plain, quiet, rawjson or tty"),
        ("", "pull", FLAG, "", "fetch the base images even if they are here"),
        ("q", "quiet", FLAG, "", "print only the image's id"),
        ("", "secret", LIST, "id=ID,src=FILE", "a secret for RUN --mount=type=secret; or env=VARIABLE"),
        ("", "shell-on-failure", FLAG, "", "a shell in the step that failed, as it was left"),
        ("", "ssh", LIST, "ID[=SOCKET|=KEY]", "an ssh agent, or a key's file, for RUN --mount=type=ssh"),
        ("t", "tag", LIST, "NAME[:TAG]", "name the image"),
        ("", "target", TEXT, "STAGE", "build up to this stage"),
        *outputs.OPTIONS,
        *limits.OPTIONS,
        # what is so anyway
        ("", "compress", FLAG, "", ""),
        ("", "disable-content-trust", FLAG, "", ""),
        ("", "force-rm", FLAG, "", ""),
        ("", "rm", FLAG, "", ""),
        # refused, but where they say what is so anyway
        ("", "builder", TEXT, "", ""),
    ),
    least=1,
    most=1,
    examples=(
        ("estiva build -t web .", "the Dockerfile of this folder"),
        ("estiva build --secret id=token,src=token.txt -t web .", "a secret that stays out of the image"),
        ("estiva build --target test --build-arg V=2 .", "one stage, with an argument"),
        ("estiva build https://github.com/me/app.git#v1:web", "a folder of a repository's tag"),
    ),
)  # fmt: skip
