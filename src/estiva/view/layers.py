"""The stack that a container stands on: the layers of its image, and what its read-write layer holds."""

from __future__ import annotations

import os
import stat
import time

from estiva.errors import EstivaError
from estiva.oci.image import instruction
from estiva.store.layers.descent import Descent
from estiva.view.seen import clean
from estiva.view.shapes import File, Layer, Writable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.store.images import Image

MOST = 200_000  # files of the read-write layer that are looked at
TIME = 0.08  # seconds for that
LARGEST = 10
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def gather(engine: Engine, image: Image) -> tuple[Layer, ...]:
    """Base first."""
    steps = [step for step in engine.store.images.history(image)[::-1] if not step["empty"]]
    return tuple(
        Layer(
            step["diff_id"],
            step["size"],
            clean(instruction(str(step["created_by"] or step["comment"]))),
            clean(str(step["created"]), 40),
        )
        for step in steps
    )


def writable(folder: str) -> Writable | None:
    """What the upper directory of a container holds; None where there is none. It may change meanwhile, and
    be anything: it is walked by fd, within MOST and TIME."""
    try:
        top = os.open(folder + "/upper", _DIRECTORY)
    except OSError:
        return None
    walk = _Walk(top)
    try:
        walk.run()
    except (OSError, EstivaError):
        walk.complete = False
    finally:
        walk.place.close()
        os.close(top)
    return walk.found()


class _Walk:
    def __init__(self, top: int) -> None:
        self.place = Descent(top)
        self.path: list[str] = []
        self.left = [os.listdir(top)]
        self.size = self.files = self.folders = self.removed = self.seen = 0
        self.inodes: set[tuple[int, int]] = set()
        self.largest: list[File] = []
        self.complete = True
        self.deadline = time.monotonic() + TIME

    def run(self) -> None:
        while self.left:
            if not self.left[-1]:
                self.left.pop()
                if self.path:
                    self.path.pop()
                    self.place.up()
                continue
            self.seen += 1
            if self.seen > MOST or self.seen % 64 == 0 and time.monotonic() > self.deadline:
                self.complete = False
                return
            try:
                self._one(self.left[-1].pop())
            except FileNotFoundError:
                continue  # removed meanwhile

    def _one(self, name: str) -> None:
        found = os.stat(name, dir_fd=self.place.fd, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            fd = os.open(name, _DIRECTORY, dir_fd=self.place.fd)
            names = os.listdir(fd)
            self.place.down(fd)
            self.folders += 1
            self.path.append(name)
            self.left.append(names)
        elif stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
            self.removed += 1
        else:
            self.files += 1
            if stat.S_ISREG(found.st_mode) and (found.st_dev, found.st_ino) not in self.inodes:
                self.inodes.add((found.st_dev, found.st_ino))
                self.size += found.st_size
                self._keep(name, found.st_size)

    def _keep(self, name: str, size: int) -> None:
        if len(self.largest) == LARGEST and size <= self.largest[-1].size:
            return
        self.largest.append(File(clean("/" + "/".join([*self.path, name])), size))
        self.largest.sort(key=lambda file: -file.size)
        del self.largest[LARGEST:]

    def found(self) -> Writable:
        largest = tuple(self.largest)
        return Writable(self.size, self.files, self.folders, self.removed, largest, self.complete)
