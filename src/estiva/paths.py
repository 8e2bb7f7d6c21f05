"""Every directory and file of Estiva's state, by name.

State (survives a reboot; ESTIVA_ROOT, default /var/lib/estiva):

    estiva.db                 the SQLite database (store/schema.py)
    blobs/ALGORITHM/HEX       content by digest, immutable; an uncompressed layer tar is kept under its diffID
    ingest/                   half-written things, on the same filesystem so that a rename finishes them
    layers/HEX/               one layer's snapshot by diffID: index.erofs, or fs/
    fixups/HEX/               directories whose mode a lower layer gives (store/layers/mounts.py)
    containers/ID/            upper/ work/ log.json hosts hostname resolv.conf
    volumes/NAME/_data        a volume's files
    states/ID/fs              what a container had written when a snapshot was made of it (store/states.py)
    cache/                    compiled seccomp filters, builder caches
    lost/                     what a lost database leaves that can't be adopted: engine/containers/adopt.py
    events.log, events.log.1  what has happened: engine/state/eventlog.py
    run -> RUN_ROOT           the run root that belongs to it

Run state (gone after a reboot; ESTIVA_RUN_ROOT, default /run/estiva):

    layers/HEX                read-only mounts of layers, shared by all containers
    containers/ID/state.json  pid and start time of init and monitor
    events.lost               as many bytes as events could not be written
    names/NAME -> ID          running containers by name, so that exec needs no database
    *.lock                    flock files
"""

from __future__ import annotations

import _thread
import os

from estiva.errors import Conflict
from estiva.files import refuse_others

DEFAULT_ROOT = "/var/lib/estiva"
DEFAULT_RUN_ROOT = "/run/estiva"


class Paths:
    """All paths below one state root and one run root. Makes nothing by itself; `prepare` does."""

    def __init__(self, root: str | None = None, run_root: str | None = None) -> None:
        self.root = os.path.abspath(root or os.environ.get("ESTIVA_ROOT") or DEFAULT_ROOT)
        self.run_root = os.path.abspath(run_root or os.environ.get("ESTIVA_RUN_ROOT") or DEFAULT_RUN_ROOT)
        self.database = self.root + "/estiva.db"
        self.blobs = self.root + "/blobs"
        self.ingest = self.root + "/ingest"
        self.layers = self.root + "/layers"
        self.fixups = self.root + "/fixups"
        self.containers = self.root + "/containers"
        self.volumes = self.root + "/volumes"
        self.cache = self.root + "/cache"
        self.states = self.root + "/states"  # made when the first snapshot is
        self.manifests = self.root + "/manifests"  # made when the first list is
        self.run_layers = self.run_root + "/layers"
        self.run_containers = self.run_root + "/containers"
        self.run_names = self.run_root + "/names"

    def container(self, container_id: str) -> str:
        return f"{self.containers}/{container_id}"

    def run_container(self, container_id: str) -> str:
        return f"{self.run_containers}/{container_id}"

    def lock(self, name: str) -> str:
        """The path of a flock file; use with files.Lock."""
        return f"{self.run_root}/{name}.lock"

    def prepare(self) -> None:
        """Make every directory, 0700 (K16). Cheap when they exist. Raises Conflict, Denied."""
        if self._bound_to() == self.run_root and os.path.isdir(self.run_names):
            return
        for directory in (
            self.root,
            self.blobs,
            self.blobs + "/sha256",
            self.blobs + "/sha512",
            self.ingest,
            self.layers,
            self.fixups,
            self.containers,
            self.volumes,
            self.run_root,
            self.run_layers,
            self.run_containers,
            self.cache,
            self.run_names,  # last: its presence tells that all the rest is there
        ):
            os.makedirs(directory, mode=0o700, exist_ok=True)
        for directory in (self.root, self.run_root):
            refuse_others(directory)  # another may have been first
        self._bind()

    def _bound_to(self) -> str:
        try:
            return os.readlink(self.root + "/run")
        except OSError:
            return ""

    def _bind(self) -> None:
        """Bind the root to this run root: under another its running containers would be taken for dead."""
        bound = self._bound_to()
        if bound == self.run_root:
            return
        try:
            running = bound and os.listdir(bound + "/containers")
        except OSError:  # after a reboot
            running = []
        if running:
            raise Conflict(
                f"{self.root} is in use with the run root {bound}",
                hint=f"give --run-root {bound}, or stop its containers",
            )
        temporary = f"{self.root}/run.{os.getpid()}.{_thread.get_ident()}"
        os.symlink(self.run_root, temporary)
        os.replace(temporary, self.root + "/run")
