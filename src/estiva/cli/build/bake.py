"""`bake`: several builds, described by files, beside each other."""

from __future__ import annotations

import os
import sys

from estiva.cli.build import calls, limits, outcome, words
from estiva.cli.build.progress.build import BuildProgress, chosen
from estiva.cli.context import warn
from estiva.cmdline.parser import FALSE, FLAG, LIST, TEXT, TRUE, Options, UsageError, Verb
from estiva.errors import EstivaError, InvalidInput, Unsupported, oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from estiva.cli.context import Context
    from estiva.engine.bake.merge import Config, Target
    from estiva.engine.bake.plan import Plan

HOST = "network.host"
FILES = ("fs", "fs.read", "fs.write", "ssh")  # of buildx's --allow: no place is out of reach here


def bake(context: Context, options: Options) -> int | None:
    from estiva.engine.bake import files, merge
    from estiva.engine.bake.plan import plan as planned

    _refuse(options)
    call = calls.asked(options)
    asked = options.text("list")
    if options.given("list") and asked.removeprefix("type=") not in ("targets", "variables"):
        raise UsageError(f"there is no --list={oneline(asked)}", hint="targets or variables")
    found = files.read(options.many("file"), lambda size: sys.stdin.buffer.read(size))
    config, document = files.load(found, os.environ)
    for line in config.warnings[:20]:
        warn(line)
    if asked:
        _list(config, document, asked.removeprefix("type="))
        return None
    plan = planned(config, options.arguments, merge.overrides(_set(options), config))
    if options.flag("print"):
        print(plan.json())
        return None
    allow = _allowed(options)
    if call is not None:
        return _ask(context, plan, call, allow)
    builds = {name: _asked(name, target, allow) for name, target in plan.targets.items()}
    for name in plan.linked:  # as buildx has it: they are there for others, and are not to be found by name
        builds[name].update(tags=[], outputs=["type=cacheonly"])
    _build(context, options, plan, builds)
    return None


def _refuse(options: Options) -> None:
    for word in options.arguments:
        if "://" in word or word.startswith("git@"):
            raise Unsupported(
                f"bake files from {oneline(word)} are not supported", hint="fetch the repository, and use -f"
            )
    if options.text("builder", "default") not in ("", "default"):
        raise Unsupported(
            f"bake --builder {oneline(options.text('builder'))} is not supported: there is one builder here",
            hint="leave it out; its name is default",
        )


def _set(options: Options) -> list[str]:
    """--set, and what other options mean by it."""
    result = list(options.many("set"))
    if options.given("no-cache"):
        result.append(f"*.no-cache={str(options.flag('no-cache')).lower()}")
    if options.given("pull"):
        result.append(f"*.pull={str(options.flag('pull')).lower()}")
    for kind in ("sbom", "provenance"):
        if options.given(kind):
            said = options.text(kind)
            more = f",disabled={str(said in FALSE).lower()}" if said in TRUE + FALSE else f",{said}"
            result.append(f"*.attest=type={kind}{more}")
    result += ["*.push=true"] if options.flag("push") else []
    return result + (["*.load=true"] if options.flag("load") else [])


def _allowed(options: Options) -> list[str]:
    """What builds may ask for; files are within reach anyway."""
    return [
        word
        for words in options.many("allow")
        for word in words.split(",")
        if word.partition("=")[0] not in FILES
    ]


def _list(config: Config, document: Any, kind: str) -> None:
    from estiva.engine.bake.document import shown

    if kind == "targets":
        rows = [["TARGET", "DESCRIPTION"]]
        for name in [*config.groups, *config.targets]:
            about = ", ".join(config.groups.get(name, ())) or config.targets.get(name, {}).get("description")
            rows.append([name, about or ""])
    else:
        rows = [["VARIABLE", "VALUE", "DESCRIPTION"]]
        for name, block in document.variables.items():
            about = block.body.attributes.get("description")
            told = document.evaluator.value(about, document) if about else ""
            rows.append([name, shown(document[name]), shown(told)])
    rows = [[oneline(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) + 3 for column in zip(*rows, strict=True)]
    for row in rows:
        print("".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _asked(name: str, target: Target, allow: list[str]) -> dict[str, Any]:
    """What engine.builds.build is asked for. Raises EstivaErrors, which name the target."""
    try:
        return _words(target, allow)
    except EstivaError as error:
        error.message = f"target {name}: {error.message}"
        raise


def _words(target: Target, allow: list[str]) -> dict[str, Any]:
    wanted = list(target.get("entitlements", ()))
    wanted += [HOST] if target.get("network") == "host" else []
    for entitlement in wanted:
        if entitlement not in allow:
            raise InvalidInput(f"{oneline(entitlement)} is not allowed", hint=f"--allow {entitlement}")
    if target.get("call", "build") != "build":
        raise Unsupported(f"call={oneline(target['call'])} is not supported", hint="estiva bake --call")
    return dict(  # noqa: C408
        **_sources(target),
        tags=target.get("tags", []),
        build_args=words.arguments([f"{key}={value}" for key, value in target.get("args", {}).items()]),
        build_contexts=_contexts(target),
        labels=dict(target.get("labels", {})),
        target=target.get("target") or None,
        cache_from=target.get("cache-from", []),
        cache_to=target.get("cache-to", []),
        no_cache=target.get("no-cache", False),
        no_cache_filter=target.get("no-cache-filter", []),
        pull=target.get("pull", False),
        outputs=target.get("output", []),
        annotations=target.get("annotations", []),
        attest=target.get("attest", []),
        platforms=target.get("platforms", []),
        network=target.get("network") or "default",
        secrets=dict(words.secret(word) for word in target.get("secret", ())),
        ssh=dict(words.ssh(word) for word in target.get("ssh", ())),
        allow=allow,
        limits=_limits(target),
    )


def _sources(target: Target) -> dict[str, Any]:
    from estiva.engine.bake.plan import CWD, is_remote

    context, dockerfile = target["context"], target["dockerfile"]
    if "-" in (context, dockerfile):
        raise InvalidInput("a context or Dockerfile from stdin is not allowed in a bake file")
    if not is_remote(context) and not os.path.isdir(context):
        raise InvalidInput(f"the build context {oneline(context)} is not a folder")
    if "dockerfile-inline" in target:
        return {"context": context, "dockerfile": None, "dockerfile_text": target["dockerfile-inline"]}
    file: str | None = dockerfile
    if dockerfile.startswith(CWD):
        file = os.path.abspath(dockerfile.removeprefix(CWD))
    elif dockerfile == "Dockerfile":
        file = None  # as `build` looks for it
    elif not is_remote(dockerfile) and not is_remote(context):
        file = os.path.join(context, dockerfile)
    return {"context": context, "dockerfile": file, "dockerfile_text": None}


def _contexts(target: Target) -> dict[str, str]:
    """Named contexts, less those that are targets, whose images come later."""
    from estiva.engine.bake.plan import CWD, needs

    return {
        name: place.removeprefix(CWD) or "."
        for name, place in target.get("contexts", {}).items()
        if name not in needs(target)
    }


def _limits(target: Target) -> dict[str, Any]:
    given: dict[str, bool | str | int | list[str]] = {}
    if target.get("shm-size"):
        given["shm-size"] = target["shm-size"].replace("iB", "").replace("B", "").lower()
    if target.get("ulimits"):
        given["ulimit"] = target["ulimits"]
    if target.get("extra-hosts"):
        given["add-host"] = [f"{name}={address}" for name, address in target["extra-hosts"].items()]
    return limits.read(Options(given, []))


def _ask(context: Context, plan: Plan, call: calls.Call, allow: list[str]) -> int:
    """--call and --check of every target, one after the other; the worst exit status."""
    from estiva.engine.builds.call import call as ask

    keys = ("context", "dockerfile", "dockerfile_text", "build_args", "build_contexts", "target")
    status = 0
    for name, target in plan.targets.items():
        asked = _asked(name, target, allow)
        asked["build_contexts"].update(dict.fromkeys(plan.needs[name], "."))  # nothing is known of those yet
        platform = next(iter(target.get("platforms", ())), None)
        document = ask(context.engine, call.kind, platform=platform, **{key: asked[key] for key in keys})
        if len(plan.targets) > 1 and not call.json:
            print(f"\n{name}")
        status = max(status, calls.show(call, document))
    return status


def _build(context: Context, options: Options, plan: Plan, builds: dict[str, dict[str, Any]]) -> None:
    from estiva.engine.bake.run import Run
    from estiva.engine.builds import build as building

    kind = chosen(options.text("progress"), False, sys.stderr)
    outcome.begin(options)
    metadata: dict[str, Any] = {}
    with BuildProgress(kind, ", ".join(builds)) as progress:  # before the engine: it may fork
        engine = context.engine
        _ = engine.store, engine.db  # opened once, here

        def build(name: str, images: dict[str, str], look: Callable[[], None]) -> str:
            asked = builds[name]
            found: dict[str, Any] = {}
            for called, needed in plan.needs[name].items():
                asked["build_contexts"][called] = f"docker-image://{images[needed]}"
            try:
                image = building.build(
                    engine, progress=run.told(name, progress), look=look, metadata=found, **asked
                )
            except EstivaError as error:
                error.message = f"target {name}: {error.message}"
                raise
            metadata[name] = outcome.metadata(image, asked["tags"]) | found
            return image

        run = Run({name: each.values() for name, each in plan.needs.items()}, build)
        with engine.store.writing():  # what a target is made of is not to go before the next has begun
            run.run()
    if options.text("metadata-file"):
        outcome.write_metadata(options.text("metadata-file"), metadata)
    if kind not in ("quiet", "rawjson"):
        named = [
            tag
            for asked in builds.values()
            if any(output.image for output in building.outputs_of(asked["outputs"], asked["tags"]))
            for tag in asked["tags"]
        ]
        for tag in dict.fromkeys(named):
            print(f"named {tag}", file=sys.stderr)


BAKE = Verb(
    bake,
    "[TARGET...]",
    "Build what a bake file or a compose file describes",
    (
        ("", "allow", LIST, "ENTITLEMENT", "network.host, security.insecure or device, for RUN"),
        ("", "call", TEXT, "KIND", "check, outline or targets of each Dockerfile, instead of a build"),
        ("", "check", FLAG, "", "tell what is likely a mistake in the Dockerfiles, and build nothing"),
        ("f", "file", LIST, "FILE", "the bake file, in HCL, JSON or compose's YAML; - is stdin"),
        ("", "list", TEXT, "KIND", "list the targets or the variables, and build nothing"),
        ("", "load", FLAG, "", "keep the images on this machine, whatever else the file says"),
        ("", "metadata-file", TEXT, "FILE", "write what the builds made to a file, as JSON"),
        ("", "no-cache", FLAG, "", "run every step"),
        ("", "print", FLAG, "", "print what would be built, as JSON"),
        ("", "progress", TEXT, "KIND", "auto, plain, quiet, rawjson or tty"),
        ("", "provenance", TEXT, "mode=min|max", "how the images were made; false for none"),
        ("", "pull", FLAG, "", "fetch the base images even if they are here"),
        ("", "push", FLAG, "", "send the images to their registries"),
        ("", "sbom", TEXT, "true", "what packages the images hold"),
        ("", "set", LIST, "TARGET.KEY=VALUE", "change what the file says; TARGET may have *, += adds"),
        # refused, but where it says what is so anyway
        ("", "builder", TEXT, "", ""),
    ),
    examples=(
        ("estiva bake", "the group or target `default`"),
        ("TAG=v2 estiva bake web --push", "one target, with a variable, to its registry"),
        ("estiva bake -f compose.yaml --set '*.platform=linux/arm64'", "the services that are built"),
        ("estiva bake --print", "what would be built"),
    ),
)  # fmt: skip
