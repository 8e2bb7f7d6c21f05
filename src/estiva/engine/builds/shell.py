"""A shell in a step whose command has failed: its files, environment, user, folder and mounts, as left.

It is a second container over the same snapshot, which is thrown away afterwards as that of any step that
failed. What a mount showed belongs to the first container, so a clone of each is kept from before it: the
same filesystem, and what the command has written to it. Linux 6.15 clones a mount that nothing holds; before
that the shell is without them.
"""

from __future__ import annotations

import copy
import os
import threading
import time

from estiva.engine.builds.container import StepStart
from estiva.errors import EstivaError
from estiva.linux import mount as mnt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from estiva.builder.request import Step
    from estiva.engine import Engine
    from estiva.engine.launch.start import Start
    from estiva.engine.state.config_types import HostConfig

    # takes a start that is not begun, what failed, and the places whose mounts are not there
    Attend = Callable[[Start, str, list[str]], object]

PAUSE = 0.05  # seconds


class Shells:
    """At most one shell in a build: in the first step that fails. Others that fail meanwhile wait for its
    end, and are not what the build ends with.
    """

    def __init__(self, attend: Attend) -> None:
        self.attend = attend
        self._first = threading.Lock()

    def open(self, engine: Engine, step: Step, kept: Kept, limits: HostConfig | None, why: str) -> None:
        """Have the caller attend a shell in a step that has just failed, and how is in `why`. Raises what
        step.look does where another step has failed before.
        """
        if not self._first.acquire(blocking=False):
            while True:
                step.look()
                time.sleep(PAUSE)
        again = copy.copy(step)
        again.argv = [step.shell]
        again.mounts = [each for each in step.mounts if each["destination"] not in kept.missing]
        again.mounted = kept.fds
        with StepStart(engine, again, limits) as start:
            start.record["Config"] = {**start.record["Config"], "Tty": True, "OpenStdin": True}
            try:
                self.attend(start, f"{step.title}: {why}", kept.missing)
            except EstivaError as error:
                step.output(f"no shell in this step: {error.message}\n".encode())


class Kept:
    """Clones of a step's mounts, made before it runs. `missing` are the places of those that can't be."""

    def __init__(self, step: Step) -> None:
        self.fds: dict[str, int] = {}
        self.missing: list[str] = []
        try:
            for each in step.mounts:
                if each["type"] == "tmpfs":
                    _as_bind(step, each)
            for place, fd in step.mounted.items():
                try:
                    self.fds[place] = mnt.clone_tree("", dirfd=fd)
                except OSError:
                    self.missing.append(place)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        while self.fds:
            os.close(self.fds.popitem()[1])


def _as_bind(step: Step, planned: dict[str, object]) -> None:
    """Make a tmpfs now, to be bound, so that it outlives the container."""
    options = planned["options"]
    assert isinstance(options, list)
    pairs = [option.partition("=")[::2] for option in options if "=" in option]
    attributes = mnt.MOUNT_ATTR_NOSUID | mnt.MOUNT_ATTR_NODEV
    if "ro" in options:
        attributes |= mnt.MOUNT_ATTR_RDONLY
    step.mounted[str(planned["destination"])] = mnt.new_filesystem("tmpfs", pairs, attributes)
    planned["type"] = "bind"
    planned["options"] = ["bind", "ro" if "ro" in options else "rw", "nosuid", "nodev"]
