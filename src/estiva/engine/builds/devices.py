"""The devices of a RUN: which the machine has, and whether the caller allows them (K23).

--allow device allows all, --allow device=NAME[,alias=OTHER] one: NAME as RUN --device names it, OTHER another
name for it. A spec may have its device allowed always, by an annotation of BuildKit's: specs are root's.
"""

from __future__ import annotations

from estiva.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.builder.frontend.run_devices import Device
    from estiva.engine.spec.cdi.devices import Registry

CLASS = "org.mobyproject.buildkit.device.class"
ALWAYS = "org.mobyproject.buildkit.device.autoallow"
_TRUE = ("1", "t", "T", "true", "TRUE", "True")


class Devices:
    """What of the machine's devices a build may have."""

    def __init__(self, allow: list[str]) -> None:
        self.all = "device" in allow
        self.allowed: list[str] = []
        self.aliases: dict[str, str] = {}
        for entry in allow:
            if entry.startswith("device="):
                self._allow(entry.removeprefix("device="))

    def _allow(self, text: str) -> None:
        name, *rest = text.split(",")
        alias = ""
        for field in rest:
            key, _, alias = field.partition("=")
            if key != "alias" or not alias:
                raise InvalidInput(f"invalid --allow device={text}", hint="device=NAME,alias=OTHER")
        if not name:
            raise InvalidInput(
                f"invalid --allow device={text}", hint="device=NAME, or device for all of them"
            )
        self.allowed.append(name)
        if alias:
            self.aliases[alias] = name

    def __call__(self, wanted: list[Device]) -> tuple[list[str], list[str]]:
        """(full names of the devices, what is not here and not required). Raises NotFound, InvalidInput."""
        from estiva.engine.spec.cdi.devices import Registry

        registry = Registry()
        names: list[str] = []
        missing: list[str] = []
        for device in wanted:
            found = match(registry, self.aliases.get(device.name, device.name))
            if not found and device.required:
                raise registry.missing(f"no such CDI device: {device.name}")
            if not found:
                missing.append(device.name)
            names += [name for name in found if name not in names]
        allowed = {name for each in self.allowed for name in match(registry, each)}
        for name in names:
            if not self.all and name not in allowed and registry.notes(name).get(ALWAYS) not in _TRUE:
                raise InvalidInput(
                    f"the device {name} is not allowed", hint=f"allow it with: --allow device={name}"
                )
        return names, missing


def match(registry: Registry, text: str) -> list[str]:
    """The full names of the devices that a name means."""
    from estiva.engine.spec.cdi.devices import is_kind

    kind, equals, name = text.partition("=")
    there = [f"{kind}={each}" for each in sorted(registry.found.get(kind, {}))] if is_kind(kind) else []
    if name == "*":
        found = there
    elif equals:
        found = [full for full in there if full == text]
    else:
        found = there[:1]
    return found or [full for full in registry.names() if registry.notes(full).get(CLASS) == text]
