"""`# syntax=` of another frontend than the Dockerfile's: it is not used, and that is said."""

from __future__ import annotations

from estiva.builder.frontend.errors import shorten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.builder.frontend.syntax import Dockerfile

ARGUMENT = "BUILDKIT_SYNTAX"  # a build argument that comes before the directive


def named(directives: dict[str, str], build_args: dict[str, str] | None = None) -> str:
    """The frontend that is asked for, "" for none and for that of Dockerfiles, of whatever version."""
    asked = (build_args or {}).get(ARGUMENT, "") or directives.get("syntax", "")
    image = asked.split()[0] if asked.split() else ""
    name = image.partition("@")[0].partition(":")[0].removeprefix("docker.io/")
    return "" if name in ("docker/dockerfile", "docker/dockerfile-upstream") else shorten(image)


def warning(dockerfile: Dockerfile, build_args: dict[str, str]) -> str:
    """What to say of it; "" for nothing."""
    other = named(dockerfile.directives, build_args)
    if not other:
        return ""
    where = ARGUMENT if build_args.get(ARGUMENT) else f"{dockerfile.name}: # syntax={other}"
    return f"{where}: the frontend {other} is not used, the file is read as a Dockerfile"
