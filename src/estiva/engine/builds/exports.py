"""What becomes of a build's images: stored and named, pushed, or written to files."""

from __future__ import annotations

import os

from estiva.engine.images import logins
from estiva.errors import InvalidInput, Unsupported
from estiva.oci.platform import Platform
from estiva.oci.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from estiva.builder.exporters.output import Output
    from estiva.engine import Engine
    from estiva.engine.builds.attesting import Attesting
    from estiva.engine.builds.built import Built
    from estiva.engine.images.logins import Logins
    from estiva.engine.images.outfile import Standard
    from estiva.registry.transfer.plan import Plan
    from estiva.store.images import Image

    Progress = Callable[[dict[str, Any]], object] | None

CREATED = "org.opencontainers.image.created"


class Exports:
    """The outputs of one build, in turn. `done` has, afterwards, what the first image among them is."""

    def __init__(
        self,
        engine: Engine,
        built: Sequence[Built],
        attesting: Attesting,
        progress: Progress = None,
        standard: Standard | None = None,
        given: Logins = None,
    ) -> None:
        self.settings = logins.settings(given)
        self.engine, self.store = engine, engine.store
        self.built = built
        self.attesting = attesting
        self.progress = progress
        self.standard = standard
        self.done: dict[str, Any] = {}

    def run(self, output: Output) -> None:
        """Make one output. Raises what its writing or pushing raises."""
        if output.kind == "cacheonly":
            return
        if output.kind in ("local", "tar"):
            from estiva.engine.builds.files import FileExport

            FileExport(self.store, self.built, output, self.attesting, self.warn, self.standard).run()
        elif output.image:
            self._keep(output)
        elif output.kind == "oci":
            self._layout(output)
        else:
            self._archive(output)

    @property
    def main(self) -> Image:
        """This machine's image among the built ones, else the first."""
        host = Platform.host()
        images = [each.image for each in self.built]
        return next((image for image in images if host.accepts(Platform.of(image.config))), images[0])

    def image(self, each: Built, output: Output) -> Image:
        """A platform's image as an output has it: with its times capped, where that was asked for."""
        if output.epoch is not None:
            from estiva.builder.cache.local import Cache
            from estiva.builder.exporters import timestamps

            return timestamps.clamp(Cache(self.store), each.image, each.base, output.epoch)
        if output.rewrite and each.epoch is None:
            self.warn("rewrite-timestamp has no effect: there is no SOURCE_DATE_EPOCH")
        return each.image

    def warn(self, message: str) -> None:
        if self.progress is not None:
            self.progress({"status": "warning", "message": message})

    # --- images as documents ---

    def plan(self, output: Output) -> Plan:
        """The manifest, or the index over several, that an output has, with what must be there before it."""
        from estiva.registry.transfer.plan import Packing, built, index_over

        said, docker = output.annotations, not output.oci_types
        members: list[tuple[Plan, dict[str, Any]]] = []
        for each in self.built:
            manifest = built(
                self.store,
                self.image(each, output),
                Packing(output.compression, output.level),
                came=self._came(each, output),
                docker=docker,
                annotations=said.of("manifest", each.platform),
            )
            beside: dict[str, Any] = {"platform": each.platform.written()}
            if own := said.of("manifest-descriptor", each.platform):
                beside["annotations"] = own
            members.append((manifest, beside))
        said_of = [
            about
            for each, (manifest, _) in zip(self.built, members, strict=True)
            if (about := self.attesting.manifest(each, manifest, output)) is not None
        ]
        from dataclasses import replace

        if len(members) == 1 and not said_of:
            return replace(members[0][0], annotations=members[0][1].get("annotations"))
        top = index_over(members + said_of, docker=docker, annotations=said.of("index"))
        return replace(top, annotations=said.of("index-descriptor"))

    def _came(self, each: Built, output: Output) -> dict[str, dict[str, Any]]:
        """The layers that stay as they came, but where all are to be packed alike."""
        from estiva.registry.transfer.plan import descriptors

        if output.force or each.base is None:
            return {}
        return descriptors(self.store, each.base)

    # --- where it goes ---

    def _keep(self, output: Output) -> None:
        """An image of the store, by its names; pushed, if that is asked for."""
        if len(self.built) == 1 and not output.packed and not self.attesting.fields(output):
            found = self.image(self.built[0], output)
            image = self.store.images.add(found.config_bytes)
            self._name(output, image, image.manifest)
            self._note(image, None)
            return
        plan = self.plan(output)
        images = [self._document(each) for each in (*plan.members, plan)]
        kept = [image for image in images if image is not None]
        host = Platform.host()
        image = next((image for image in kept if host.accepts(Platform.of(image.config))), kept[0])
        self._name(output, image, plan.digest)
        if output.canonical:
            for name in output.references:
                self.store.images.record_digest(name.name, plan.digest, image.id)
        if output.push:
            for name in output.references:
                self._push(output, name, plan, image)
        self._note(image, plan)

    def _name(self, output: Output, image: Image, manifest: str | None) -> None:
        if not output.store or output.by_digest:
            return
        from estiva.engine.images import events

        for name in output.names:
            self.store.images.tag(image.id, name, manifest)
        events.tagged(self.engine, image, output.names)

    def _document(self, plan: Plan) -> Image | None:
        """Keep a planned document; the image that it is of, if it is one's."""
        for data in (plan.manifest, *(data for digest, data in plan.data.items() if digest != plan.image)):
            self.store.content.put(data)
        if not plan.image:
            return None
        image = self.store.images.resolve(plan.image)
        return self.store.images.add(image.config_bytes, manifest=plan.manifest)

    def _push(self, output: Output, name: Reference, plan: Plan, image: Image) -> None:
        from estiva.engine.images import events
        from estiva.registry.transfer import copy as copying

        target = Reference(name.registry, name.repository) if output.by_digest else name
        self._tell("starting", str(name))
        with self.engine.heap():
            copying.copy(
                [((self.store, plan), target)], every=True, progress=self.progress, config=self.settings
            )
        for each in (plan, *plan.members):
            if each.image or each is plan:
                self.store.images.record_digest(name.name, each.digest, each.image or image.id)
        events.note(self.engine, "push", name.familiar, name.familiar_name, image)
        self._tell("complete", str(name))

    def _tell(self, status: str, message: str) -> None:
        if self.progress is not None:
            self.progress({"id": "", "status": status, "current": 0, "total": 0, "message": message})

    def _layout(self, output: Output) -> None:
        from estiva.engine.images import copy

        plan = self.plan(output)
        pairs = [(plan, "")]
        if output.names:
            pairs = [(self._named(plan, name), name.tag) for name in output.references]
        kind = "oci-archive" if output.tar else "oci"
        copy.export(self.engine, pairs, kind, output.dest, None, self.standard)
        self._note(self.image(self.built[0], output), plan)

    def _named(self, plan: Plan, name: Reference) -> Plan:
        from dataclasses import replace

        from estiva.store.archive import layout

        said = {**(plan.annotations or {}), layout.FULL_NAME: str(name)}
        created = self.built[0].image.config.get("created")
        return replace(plan, annotations={CREATED: str(created), **said} if created else said)

    def _archive(self, output: Output) -> None:
        from estiva.engine.images.outfile import Output as OutFile
        from estiva.store.archive import save as saving

        if len(self.built) > 1:
            raise Unsupported("type=docker has one platform", hint="type=oci has several")
        image = self.image(self.built[0], output)
        with OutFile(output.dest, self.standard) as out:
            saving.save_images(self.store, [(image, [str(name) for name in output.references])], out)
        self._note(image, None)

    def _note(self, image: Image, plan: Plan | None) -> None:
        """What buildx' metadata says of an image."""
        if self.done:
            return
        self.done["containerimage.config.digest"] = image.id
        if plan is not None:
            self.done["containerimage.digest"] = plan.digest
            self.done["containerimage.descriptor"] = plan.descriptor()


def check(
    outputs: Sequence[Output],
    platforms: Sequence[str | None],
    attesting: Attesting,
    standard: Standard | None,
) -> None:
    """Raise for what can't be given, before anything is built."""
    if standard is None and any(output.dest == "-" for output in outputs):
        raise InvalidInput("there is no stdout for an output", hint="give a file by dest=FILE")
    asked = [Platform.parse(platform) if platform else Platform.host() for platform in platforms]
    for output in outputs if len(asked) > 1 else ():
        if output.kind == "docker" and output.dest:
            raise Unsupported("type=docker has one platform", hint="type=oci has several")
        if output.split is False:
            raise Unsupported(
                "several platforms need folders of their own", hint="without platform-split=false"
            )
    for output in outputs:
        attesting.check(output)
        output.annotations.check(asked, len(asked) > 1 or bool(attesting.fields(output)))
        one = output.kind not in ("image", "local") and output.tar and output.dest not in ("", "-")
        if one and os.path.isdir(output.dest):
            raise InvalidInput(f"{output.dest} is a folder", hint="name a file in it")
