"""A build from end to end: read the Dockerfile, plan, run the stages that are needed, make the image."""

from __future__ import annotations

import os
import posixpath
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from estiva.builder.cache import local
from estiva.builder.files.copier import Destination
from estiva.builder.files.tree import Tree
from estiva.builder.files.workspace import Workspace
from estiva.builder.frontend import ignore, parser, stages
from estiva.builder.frontend.errors import bad, located, shorten
from estiva.builder.frontend.instructions import Command, Copy, Pairs, Text, Typed, interpret
from estiva.builder.frontend.source import read_dockerfile
from estiva.builder.request import Progress, Request, ResolveImage, RunStep
from estiva.builder.steps import mountpoints, state, users
from estiva.builder.steps.copy import CopyStep
from estiva.builder.steps.run import PROXIES
from estiva.builder.steps.run import RunStep as Running
from estiva.errors import EngineError, EstivaError, InvalidInput, reason
from estiva.oci.platform import Platform

if TYPE_CHECKING:
    from estiva.store import Store
    from estiva.store.images import Image

_UNCOUNTED = (*PROXIES, "SOURCE_DATE_EPOCH")  # build args that need no ARG


class Build:
    """One running build; what its steps share."""

    def __init__(
        self,
        request: Request,
        store: Store,
        run_step: RunStep,
        resolve_image: ResolveImage,
        progress: Progress | None,
    ) -> None:
        self.request = request
        self.store = store
        self.run_step = run_step
        self.resolve_image = resolve_image
        self.progress = progress or (lambda event: None)
        self.epoch = _epoch(request)
        self.host = Platform.host()
        self.wanted = Platform.parse(request.platform) if request.platform else self.host
        self.trees: dict[str, Tree] = {}
        self.states: dict[int, state.State] = {}
        self.images: dict[str, Image] = {}
        self.number = 0
        self.total = 0
        self.current: dict[str, Any] = {}
        self.cache = local.Cache(store, off=request.no_cache)
        self.no_cache = local.Cache(store, off=True)
        self.workspace = Workspace(store.paths)

    def close(self) -> None:
        for tree in self.trees.values():
            tree.close()
        self.workspace.close()

    def run(self) -> Image:
        """Build the target's image. Raises EstivaError."""
        dockerfile, self.patterns = read_dockerfile(self.request)
        self.plan = stages.make(dockerfile, self.request.build_args, self._platform_args())
        target = self.plan.target(self.request.target)
        for message in dockerfile.warnings:
            self.progress({"status": "warning", "message": message})
        needed = self.plan.needed(target)
        self.total = sum(1 + len(stage.steps) for stage in needed)
        for stage in needed:
            self.stage(stage)
        final = self.states[target.index]
        for name in sorted(set(self.request.build_args) - self.plan.declared - set(_UNCOUNTED)):
            self.progress({"status": "warning", "message": f"build argument {name} is not used"})
        if self.request.labels:
            final.config["Labels"] = {**(final.config.get("Labels") or {}), **self.request.labels}
        final.document.setdefault("created", self.clock())
        return self.cache_of(target).image(final.document, final.inherited)

    def stage(self, stage: stages.Stage) -> None:
        """Run all of one stage."""
        if stage.index in self.states:
            return
        start = stage.start
        with _Reported(self, stage, start) as reported:
            current = self._start(stage)
            triggers = self._triggers(stage, current)
            reported.status = "done"
        self.total += len(triggers)
        for typed in [*triggers, *stage.steps]:
            with _Reported(self, stage, typed) as reported:
                try:
                    reported.status = self._step(stage, current, typed)
                except EstivaError as error:
                    raise located(error, typed.source) from error.__cause__
                except OSError as error:
                    message = f"{typed.name} failed: {reason(error)}: {error.filename or ''}".rstrip(": ")
                    raise located(EngineError(message), typed.source) from error
        self.states[stage.index] = current

    def _start(self, stage: stages.Stage) -> state.State:
        """The state that a stage's FROM gives."""
        source = stage.start.source
        if stage.base is not None:
            self.stage(stage.base)
            return self.states[stage.base.index].child()
        wanted = Platform.parse(stage.platform) if stage.platform else self.wanted
        if stage.image == "scratch":
            return state.State.scratch(wanted, self.clock)
        asked = stage.platform or self.request.platform
        try:
            image = self.image(stage.image, asked or None)
        except EstivaError as error:
            raise located(error, source) from error.__cause__
        got = Platform.of(image.config)
        if not wanted.accepts(got):
            message = f"the image {stage.image} is for {got}, not for {wanted}"
            if asked:
                raise bad(source, message, f"ask for it with --platform={got}, or use another image")
            self.progress({"status": "warning", "message": f"{source.file}:{source.line}: {message}"})
        return state.State.of(image, self.clock)

    def _triggers(self, stage: stages.Stage, current: state.State) -> list[Typed]:
        """The ONBUILD instructions of the base, which run once and are not inherited further."""
        triggers: list[Typed] = []
        source = stage.start.source
        for text in current.config.pop("OnBuild", None) or []:
            for instruction in parser.parse(text, name=source.file).instructions:
                instruction.line = source.line
                if instruction.name in ("FROM", "MAINTAINER", "ONBUILD"):
                    raise bad(source, f"{instruction.name} isn't allowed as an ONBUILD trigger")
                typed = interpret(instruction)
                for name in stages.references(typed):
                    found = self.plan.find(name, stage)
                    if found is not None:
                        self.stage(found)
                if isinstance(typed, Pairs) and typed.name == "ARG":
                    self.plan.declared.update(name for name, _ in typed.pairs)
                triggers.append(typed)
        return triggers

    def _step(self, stage: stages.Stage, current: state.State, typed: Typed) -> str:
        """Run one instruction: "done" or "cached"."""
        if isinstance(typed, Copy):
            cached = CopyStep(self, stage, current, typed).run()[1]
        elif typed.name == "RUN":
            assert isinstance(typed, Command)
            cached = Running(self, stage, current, typed).run()[1]
        elif typed.name == "WORKDIR":
            assert isinstance(typed, Text)
            cached = self._workdir(stage, current, typed)
        elif typed.name == "ARG":
            assert isinstance(typed, Pairs)
            state.declare(current, typed, self.request.build_args, self.plan.global_args)
            return "done"
        else:
            state.apply(current, typed)
            return "done"
        return "cached" if cached else "done"

    def _workdir(self, stage: stages.Stage, current: state.State, typed: Text) -> bool:
        """WORKDIR makes the directory, owned by USER, in a layer of its own (perhaps an empty one)."""
        text = state.expander(current, typed).word(typed.text)
        path = posixpath.normpath(current.absolute(text))
        current.config["WorkingDir"] = path
        created_by = f"WORKDIR {path}"
        if path == "/":
            current.record(created_by)
            return False
        user = str(current.config.get("User") or "")
        inputs = {"below": current.diff_ids, "path": path, "user": user}
        keys = [self.key("workdir", inputs)]
        layers = self.cache_of(stage)
        known = layers.layer(keys)
        if known is not None:
            current.record(created_by, created=known[1], diff_id=known[0])
            return True

        def work(rootfd: int) -> None:
            owner = users.owner(rootfd, user) if user else (0, 0)
            os.close(Destination(rootfd, owner=owner).directory(path))

        diff_id = self.layer(current.diff_ids, work)
        created = self.clock()
        layers.keep_layer(keys, diff_id, created, created_by, current.platform)
        current.record(created_by, created=created, diff_id=diff_id)
        return False

    def layer(self, diff_ids: list[str], work: Callable[[int], None]) -> str:
        """Commit what `work` does to a rootfs (by fd) of these layers; the new layer's diff_id."""
        snapshot = self.store.snapshots.prepare(diff_ids)
        try:
            fd = snapshot.mount()
            try:
                work(fd)
            finally:
                os.close(fd)
            self.clamp(snapshot)
            return str(snapshot.commit().diff_id)
        finally:
            snapshot.discard()

    def clamp(self, snapshot: Any) -> None:
        if self.epoch is not None:
            mountpoints.clamp(snapshot.upper, self.epoch)

    def clock(self) -> str:
        return local.timestamp(self.epoch)

    def key(self, kind: str, inputs: dict[str, Any]) -> str:
        return local.key(kind, {**inputs, "epoch": self.epoch})

    def cache_of(self, stage: stages.Stage) -> local.Cache:
        names = self.request.no_cache_filter
        return self.no_cache if stage.label in names or stage.alias in names else self.cache

    def output(self, data: bytes) -> None:
        """What a RUN's command writes."""
        self.progress({**self.current, "status": "output", "data": data})

    def image(self, name: str, platform: str | None) -> Image:
        named = self.request.build_contexts.get(name, "")
        if named.startswith("docker-image://"):
            name = named.removeprefix("docker-image://")
        elif named:
            raise InvalidInput(f"the named context {name} is a directory, which FROM can't take")
        key = f"{platform}\0{name}"
        if key not in self.images:
            self.images[key] = self.resolve_image(name, platform=platform, pull=self.request.pull)
        return self.images[key]

    def tree(self, name: str, stage: stages.Stage) -> tuple[Tree, list[str] | None]:
        """The tree that COPY --from=name or a mount reads, and its layers (None for a context)."""
        if not name:
            return self._context("", self.request.context, self.patterns), None
        found = self.plan.find(name, stage)
        if found is not None:
            diff_ids = self.states[found.index].diff_ids
            return self._view(f"stage {found.index}", diff_ids), diff_ids
        directory = self.request.build_contexts.get(name)
        if directory and not directory.startswith("docker-image://"):
            return self._context(name, directory, None), None
        if name == "scratch":
            return self._view("scratch", []), []
        image = self.image(name, self.request.platform)
        return self._view(image.id, image.diff_ids), image.diff_ids

    def _context(self, name: str, directory: str | None, patterns: ignore.Matcher | None) -> Tree:
        key = f"context {name}"
        if key not in self.trees:
            if directory is not None and "://" in directory:
                raise InvalidInput(f"the build context {directory} is not a directory")
            self.trees[key] = Tree.context(directory or self.workspace.directory(), patterns)
        return self.trees[key]

    def _view(self, key: str, diff_ids: list[str]) -> Tree:
        if key not in self.trees:
            fd = self.store.snapshots.view(diff_ids) if diff_ids else os.dup(self.empty())
            self.trees[key] = Tree(fd, owners=True)
        return self.trees[key]

    def empty(self) -> int:
        """The fd of an empty directory: the rootfs of scratch."""
        if "empty" not in self.trees:
            self.trees["empty"] = Tree.context(self.workspace.directory())
        return self.trees["empty"].rootfd

    def _platform_args(self) -> dict[str, str]:
        result: dict[str, str] = {}
        for prefix, platform in (("TARGET", self.wanted), ("BUILD", self.host)):
            result[prefix + "PLATFORM"] = str(platform)
            result[prefix + "OS"] = platform.os
            result[prefix + "ARCH"] = platform.architecture
            result[prefix + "VARIANT"] = platform.variant
        result["TARGETSTAGE"] = self.request.target or "default"
        return result


class _Reported:
    """Reports one step's begin and end to the progress callback."""

    def __init__(self, build: Build, stage: stages.Stage, typed: Typed) -> None:
        self.build = build
        self.status = "done"
        self.event = {"stage": stage.label, "instruction": shorten(typed.source.original)}

    def __enter__(self) -> _Reported:
        self.build.number += 1
        self.event["step"] = f"{self.build.number}/{self.build.total}"
        self.build.current = self.event
        self.started = time.monotonic()
        self.build.progress({**self.event, "status": "running", "seconds": 0.0})
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        seconds = time.monotonic() - self.started
        status = self.status if error is None else "error"
        self.build.progress({**self.event, "status": status, "seconds": seconds})


def _epoch(request: Request) -> int | None:
    if request.source_date_epoch is not None:
        return request.source_date_epoch
    text = request.build_args.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()) or len(text) > 11:
        raise InvalidInput(f"SOURCE_DATE_EPOCH must be a number of seconds, not {text[:40]!r}")
    return int(text)


def build(
    request: Request,
    *,
    store: Store,
    run_step: RunStep,
    resolve_image: ResolveImage,
    progress: Progress | None = None,
) -> Image:
    """Build an image and return it, untagged; an unchanged build returns the image that it made before.

    `progress` gets events: {"step": "2/9", "stage", "instruction", "status": "running" | "cached" | "done" |
    "error", "seconds"}, the same with "status": "output" and "data" (bytes) for what a command writes, and
    {"status": "warning", "message"}. Raises DockerfileError, BuildFailed and other EstivaErrors, all naming
    the Dockerfile's line.
    """
    with store.writing():
        running = Build(request, store, run_step, resolve_image, progress)
        try:
            return running.run()
        finally:
            running.close()
