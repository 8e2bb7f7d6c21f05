"""Programs of the host that do work for us: found where only root puts them, not on the caller's PATH (K24).

What a caller's PATH names first would else run with the rights that Estiva has, root's mostly. The programs
that a user chooses, such as credential helpers, are looked for on that.
"""

from __future__ import annotations

import os

FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def find(name: str) -> str:
    """The path of a program, "" when it is not installed."""
    for folder in FOLDERS:
        path = f"{folder}/{name}"
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return ""


def environment(**more: str) -> dict[str, str]:
    """The environment for one: that PATH, for what it starts itself, and words in English."""
    return {"PATH": ":".join(FOLDERS), "LC_ALL": "C", **more}
