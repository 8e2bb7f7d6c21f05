"""A folder of the host's that a command reads while anybody may change it: what was in it, and if it stayed.

What a command reads in a mounted folder is what the cache's key tells (K20) if every file was hashed through
that mount, can be told from what a later change makes of it (files/identity.py), and is still the same after
the command has ended. A name that came and went has changed its directory's time.
"""

from __future__ import annotations

import os
import stat
import time

from estiva.builder.files import identity
from estiva.builder.files.record import Record
from estiva.builder.files.tree import Tree
from estiva.errors import InvalidInput

_PATIENCE = 1_100_000_000  # nanoseconds to wait for files that have just been written


class Witness:
    """Has looked at all of a tree, through its mount.

    digest   what the cache's key tells of it, as Tree.digest does
    doubt    why the mount would show what the digest does not tell, or a change could not be seen; "" if not

    Raises OSError and InvalidInput for a tree that changes under the eye.
    """

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        late = self._look()
        if 0 < late < _PATIENCE:
            time.sleep((late + identity.SLACK) / 1e9)
            late = self._look()
        if late:
            self.doubt = "it has just been changed"

    def _look(self) -> int:
        """Look at everything, up to a doubt; how many nanoseconds too early, if any."""
        self.seen: dict[str, identity.Identity] = {}
        self.digest = self.doubt = ""
        total = Record(self.tree.owners)
        now = identity.clock()
        settled = 0
        for name, info, text in self.tree.sights("", firm=True):
            total.add(name, info, text)
            self.seen[name] = identity.of(info)
            settled = max(settled, identity.settles(info))
            self.doubt = self._doubt(name, info, now)
            if self.doubt:
                return 0
        self.digest = total.digest()
        return settled - now + 1 if settled >= now else 0

    def _doubt(self, name: str, info: os.stat_result, now: int) -> str:
        kind = stat.S_IFMT(info.st_mode)
        if not name and not identity.honest(self.tree.rootfd):
            return "its filesystem's times can't be relied on"
        if kind not in (stat.S_IFREG, stat.S_IFDIR) and not (name and kind == stat.S_IFLNK):
            return f"{name} is neither a file nor a directory"
        if (info.st_uid, info.st_gid) != (0, 0):
            return f"{name} is not root's"
        if kind != stat.S_IFLNK and self._attributes(name):
            return f"{name} has extended attributes"
        if kind == stat.S_IFREG and identity.settles(info) < now and identity.of(info) not in self.tree.firm:
            return f"{name} is being written"
        return ""

    def _attributes(self, name: str) -> bool:
        """Whether a copy would be without some of its attributes. Labels are the machine's."""
        path = f"/proc/self/fd/{self.tree.rootfd}" + (f"/{name}" if name else "")
        try:
            names = os.listxattr(path, follow_symlinks=not name)
        except OSError:
            return False
        return any(not each.startswith("security.") or each == "security.capability" for each in names)

    def changed(self) -> str | None:
        """The first path that is not as it was ("" the mounted one itself), None if all are."""
        now = {"": identity.of(self.tree.stat(""))}
        try:
            for name, _, _, info in self.tree.entries("") if stat.S_ISDIR(self.seen[""][2]) else ():
                now[name] = identity.of(info)
        except (OSError, InvalidInput):  # what made it fail was not there before
            pass
        return next((name for name in {**self.seen, **now} if self.seen.get(name) != now.get(name)), None)
