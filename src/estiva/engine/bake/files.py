"""Bake files: which there are, what is in them, and the configuration of all of them together."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from estiva.engine.bake import compose, hcl
from estiva.engine.bake.document import Document
from estiva.engine.bake.merge import Config
from estiva.errors import InvalidInput, NotFound, oneline
from estiva.oci.platform import Platform

# in buildx's order: the later go over the earlier
DEFAULT = (
    "compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml",
    "docker-bake.json", "docker-bake.hcl", "docker-bake.override.json", "docker-bake.override.hcl",
)  # fmt: skip
MAX_BYTES = 1 << 20  # of a file
MAX_FILES = 100
CWD = "cwd://"


def read(names: list[str], stream: Callable[[int], bytes]) -> list[tuple[str, str]]:
    """(name, text) of the files that were named, or that there are. Raises NotFound, InvalidInput."""
    if len(names) > MAX_FILES:
        raise InvalidInput(f"there are more than {MAX_FILES} bake files")
    found = []
    for name in names or DEFAULT:
        if name == "-":
            data = stream(MAX_BYTES + 1)
        else:
            try:
                with open(name, "rb") as file:
                    data = file.read(MAX_BYTES + 1)
            except FileNotFoundError:
                if names:
                    raise NotFound(f"the bake file {oneline(name)} is not there") from None
                continue
            except OSError as error:
                raise InvalidInput(f"the bake file {oneline(name)}: {error.strerror}") from None
        if len(data) > MAX_BYTES:
            raise InvalidInput(f"the bake file {oneline(name)} is larger than {MAX_BYTES >> 20} MiB")
        try:
            found.append((oneline(name), data.decode("utf-8-sig")))
        except ValueError:
            raise InvalidInput(f"the bake file {oneline(name)} is not UTF-8 text") from None
    if not found:
        raise NotFound("couldn't find a bake definition", hint=f"-f FILE, or one of {', '.join(DEFAULT)}")
    return found


def load(files: list[tuple[str, str]], environment: Mapping[str, str]) -> tuple[Config, Document]:
    """All files together, and what HCL there is. Raises InvalidInput, Unsupported."""
    config, bodies, composed = Config(), [], []
    for name, text in files:
        lower = name.lower()
        if lower.endswith((".yml", ".yaml")):
            composed.append((name, text))
        elif lower.endswith(".json"):
            bodies.append(hcl.parse_json(text, name))
        elif lower.endswith(".hcl"):
            bodies.append(hcl.parse(text, name))
        elif text.lstrip().startswith("{"):
            bodies.append(hcl.parse_json(text, name))
        elif compose.looks_like(text):
            composed.append((name, text))
        else:
            bodies.append(hcl.parse(text, name))
    if composed:
        below = compose.dotenv(".env")
        config.update(compose.load(composed, {**below, **environment}))
    builtin = {"BAKE_CMD_CONTEXT": CWD, "BAKE_LOCAL_PLATFORM": str(Platform.host())}
    document = Document(bodies, environment, builtin)
    config.update(document.config())
    return config, document
