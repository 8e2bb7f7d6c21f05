"""A build's error as BuildKit tells it: docker's words, and where in the Dockerfile it is."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

from estiva.api.buildkit.rpc import UNKNOWN, RpcError
from estiva.engine.builds import build as builds

if TYPE_CHECKING:
    from estiva.errors import EstivaError

SOURCE = "github.com/moby/buildkit/errdefs.Source+json"  # what details are, by containerd's typeurl
MOST = 12 << 10  # bytes of a Dockerfile that go with an error


def told(error: EstivaError, name: str, text: str, *, parsed: bool = False) -> RpcError:
    """`name` and `text` are the Dockerfile's, as far as they are known; `parsed`: it was good so far."""
    found = RpcError(UNKNOWN, error.message)  # any other code is told before the words
    line = int(getattr(error, "line", 0) or 0)
    place = re.match(r"([^\s:]+):(\d+): ", error.message)
    if place is not None and (not name or place[1] == name):
        line = line or int(place[2])
        found.message = error.message[place.end() :]
    if target := re.fullmatch(r"no stage '(.*)' in \S+", found.message):
        found.message = f'target stage "{target[1]}" could not be found'
    if missing := re.fullmatch(
        r"there is no (.*) in the build context|no (\S+) in the archive", found.message
    ):
        name = missing[1] or missing[2]
        found.message = f"failed to read dockerfile: open {name}: no such file or directory"
    failed = builds.failed(error)
    if failed is not None:
        words = " ".join(failed.argv) if failed.argv else failed.text
        found.message = f'process "{words}" did not complete successfully: exit code: {failed.status}'
    elif hasattr(error, "bare") and not parsed:
        found.message = f"dockerfile parse error on line {line}: {error.bare}"
    hint = error.hint.replace("estiva login", "docker login")  # whoever reads it has docker's client
    plain = found.message.startswith(
        ("dockerfile parse error", "target stage", "failed to read dockerfile")
    )  # known by heart
    if plain and not hint.startswith("did you mean"):
        hint = ""
    if hint and failed is None and "estiva " not in hint:
        found.message += f" ({hint})"
    if line and text:
        found.details.append({"url": SOURCE, "value": json.dumps(_source(name, text, line)).encode()})
    return found


def _source(name: str, text: str, line: int) -> dict[str, Any]:
    """errdefs.Source: a file that is too long is told with empty lines before what matters."""
    data = text.encode("utf-8", "replace")
    if len(data) > MOST:
        lines = text.split("\n")
        near = [each if abs(at - line) < 20 else "" for at, each in enumerate(lines, 1)][: line + 20]
        data = "\n".join(near).encode("utf-8", "replace")[:MOST]
    place = {"line": line}
    return {
        "info": {"filename": name, "data": base64.b64encode(data).decode(), "language": "Dockerfile"},
        "ranges": [{"start": place, "end": place}],
    }
