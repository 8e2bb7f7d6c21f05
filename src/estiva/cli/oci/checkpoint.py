"""`checkpoint` and `restore` of estiva-oci."""

from __future__ import annotations

from estiva.cli.parser import FLAG, TEXT, Options, Verb
from estiva.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.cli.oci.main import Context


def _unsupported(context: Context, options: Options) -> int:
    raise Unsupported("checkpoint and restore are not supported: criu is not used yet")


_COMMON = (
    ("", "image-path", TEXT, "DIR", "where the images are"),
    ("", "work-path", TEXT, "DIR", "where logs go"),
    ("", "tcp-established", FLAG, "", "allow open TCP connections"),
    ("", "ext-unix-sk", FLAG, "", "allow external unix sockets"),
    ("", "shell-job", FLAG, "", "allow shell jobs"),
    ("", "file-locks", FLAG, "", "handle file locks"),
    ("", "manage-cgroups-mode", TEXT, "MODE", ""),
    ("", "lazy-pages", FLAG, "", ""),
)
CHECKPOINT = Verb(_unsupported, "ID", "Freeze a container to files", _COMMON, least=1, most=1)
RESTORE = Verb(_unsupported, "ID", "Make a container of such files", _COMMON, least=1, most=1)
