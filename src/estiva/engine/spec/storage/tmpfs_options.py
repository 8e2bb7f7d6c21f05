"""The options of --tmpfs: mount(8)'s, and those of tmpfs(5). Podman's tmpcopyup too."""

from __future__ import annotations

from estiva.errors import InvalidInput

FLAGS = frozenset((
    "defaults", "ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "async", "dirsync",
    "atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime",
    "private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable",
    "noswap", "tmpcopyup", "notmpcopyup",
))  # fmt: skip
VALUES = frozenset(("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge"))


def check(target: str, text: str) -> list[str]:
    """The options in `text`, one by one. Raises InvalidInput for one that there is not."""
    result: list[str] = []
    for option in filter(None, text.split(",")):
        key, equals, value = option.partition("=")
        if key in VALUES and not value:
            raise InvalidInput(f'invalid tmpfs option "{option}" of {target}: it wants a value')
        if key not in VALUES and (equals or key not in FLAGS):
            raise InvalidInput(f'invalid tmpfs option "{option}" of {target}')
        if key == "mode" and (set(value) - set("01234567") or int(value, 8) > 0o7777):
            raise InvalidInput(f'invalid tmpfs option "{option}" of {target}: an octal mode, such as 1777')
        if option not in ("defaults", "notmpcopyup", *result):
            result.append(option)
    return result
