"""`checkpoint` of estiva-oci: a running container becomes files, by criu."""

from __future__ import annotations

import os

from estiva.cmdline.parser import FLAG, INT, LIST, TEXT, Options, UsageError, Verb
from estiva.errors import InvalidInput
from estiva.runtime.lifecycle import checkpoint as checkpointing
from estiva.runtime.lifecycle import containers, operations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.ocicli.main import Context

COMMON = (
    ("", "image-path", TEXT, "DIR", "where the images are (default: ./checkpoint)"),
    ("", "work-path", TEXT, "DIR", "where criu's log goes (default: --image-path)"),
    ("", "tcp-established", FLAG, "", "allow open TCP connections"),
    ("", "ext-unix-sk", FLAG, "", "allow unix sockets that are connected to the outside"),
    ("", "shell-job", FLAG, "", "allow a session and terminal of the outside"),
    ("", "file-locks", FLAG, "", "take file locks along"),
    ("", "manage-cgroups-mode", TEXT, "MODE", "what of cgroups: soft (default), full, strict or ignore"),
    ("", "empty-ns", LIST, "KIND", "a namespace whose properties are left out: network, which always is"),
    ("", "auto-dedup", FLAG, "", "drop from parent images what these have anew"),
    ("", "lazy-pages", FLAG, "", "bring memory over when it is used (userfaultfd)"),
)


def common(options: Options) -> checkpointing.Options:
    """The flags that both verbs have."""
    how = checkpointing.Options()
    how.images = os.path.abspath(options.text("image-path") or "checkpoint")
    how.work = os.path.abspath(options.text("work-path")) if options.text("work-path") else ""
    how.tcp_established = options.flag("tcp-established")
    how.ext_unix_sk = options.flag("ext-unix-sk")
    how.shell_job = options.flag("shell-job")
    how.file_locks = options.flag("file-locks")
    how.auto_dedup = options.flag("auto-dedup")
    how.lazy_pages = options.flag("lazy-pages")
    how.cgroups_mode = options.text("manage-cgroups-mode")
    for kind in options.many("empty-ns"):
        if kind != "network":
            raise InvalidInput(f"--empty-ns {kind}: only network can be left empty")
    return how


def checkpoint(context: Context, options: Options) -> int:
    made = containers.load(context.root, options.arguments[0])
    how = common(options)
    how.parent = options.text("parent-path")
    how.leave_running = options.flag("leave-running")
    how.pre_dump = options.flag("pre-dump")
    how.link_remap = options.flag("link-remap")
    how.tcp_skip_in_flight = options.flag("tcp-skip-in-flight")
    how.status_fd = options.number("status-fd", -1)
    if options.given("page-server"):
        how.page_server = _address(options.text("page-server"))
    checkpointing.checkpoint(made, how)
    if not how.leave_running and not how.pre_dump:
        context.warn(operations.delete(made, force=True))
    return 0


def _address(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    address = address.removeprefix("[").removesuffix("]")
    if not address or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise UsageError(f"invalid --page-server: {text}", hint="ADDRESS:PORT")
    return address, int(port)


CHECKPOINT = Verb(
    checkpoint,
    "ID",
    "Freeze a container to files",
    (
        *COMMON,
        ("", "parent-path", TEXT, "DIR", "earlier images of a --pre-dump, relative to --image-path"),
        ("", "leave-running", FLAG, "", "let the container go on afterwards"),
        ("", "pre-dump", FLAG, "", "memory only, and let the container go on"),
        ("", "tcp-skip-in-flight", FLAG, "", "leave out TCP connections that are being made"),
        ("", "link-remap", FLAG, "", "give deleted files that are open a name again"),
        ("", "page-server", TEXT, "ADDRESS:PORT", "send memory to this page server of criu"),
        ("", "status-fd", INT, "FD", "write a NUL to it when the server of --lazy-pages listens"),
    ),
    least=1,
    most=1,
)
