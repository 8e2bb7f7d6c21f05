"""The system-call filter of a container: the BPF program that `container.create` installs, from its cache.

Compiling takes libseccomp some 30 ms, so a program is kept in CACHE/seccomp/ under a name that says what it
was made from. A hit costs one open and one read.
"""

from __future__ import annotations

import os

from estiva.errors import InvalidInput
from estiva.runtime.security.capabilities import ALL_CAPABILITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

# Of seccomp_profile.py and of the code that compiles it: raise it when one of them changes.
PROFILE_VERSION = 2

_MAX_BYTES = 4096 * 8


def _mask(names: Iterable[str]) -> int:
    mask = 0
    for name in names:
        mask |= 1 << ALL_CAPABILITIES[name]
    return mask


def _cached(path: str) -> bytes | None:
    """A whole program of the cache; None when there is none, or what is there can't be one."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        data = os.read(fd, _MAX_BYTES + 1)
    except OSError:
        return None
    finally:
        os.close(fd)
    return data if 0 < len(data) <= _MAX_BYTES and len(data) % 8 == 0 else None


def _compiled(profile: dict[str, Any], names: Iterable[str], path: str) -> bytes:
    """Compile for this machine and keep the program. A cache that can't be written costs time, nothing
    else."""
    from estiva.files import atomic_write
    from estiva.linux import seccomp
    from estiva.runtime.security.seccomp_ranges import condense
    from estiva.runtime.security.seccomp_rules import resolve

    system = os.uname()
    program = condense(seccomp.compile(resolve(profile, names, system.machine, system.release)))
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        # Synced, although it can be made again: after a power cut a file of the right size could hold zeros.
        atomic_write(path, program)
    except OSError:
        pass
    return program


def default_filter(capabilities: Iterable[str], cache_dir: str, *, strict: bool = False) -> bytes:
    """The BPF program of the default profile, or of the `strict` one, for a container with `capabilities`.
    `cache_dir` is `Paths.cache`.

    Raises Unsupported when it isn't cached and libseccomp is missing.
    """
    names = tuple(capabilities)
    machine = os.uname().machine
    kind = "strict" if strict else "default"
    path = f"{cache_dir}/seccomp/{kind}-{PROFILE_VERSION}-{machine}-{_mask(names):x}.bpf"
    program = _cached(path)
    if program is None:
        from estiva.runtime.security import seccomp_profile, seccomp_strict

        wanted = seccomp_strict.profile() if strict else seccomp_profile.profile()
        program = _compiled(wanted, names, path)
    return program


def profile_filter(profile: dict[str, Any], capabilities: Iterable[str], cache_dir: str) -> bytes:
    """The same for a user's profile: Docker's JSON or an OCI linux.seccomp. Raises InvalidInput naming the
    field."""
    from _blake2 import blake2b  # a tenth of the cost of hashlib

    from estiva import fastjson

    names = tuple(capabilities)
    system = os.uname()
    try:
        canonical = fastjson.dumps(profile, sort_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"the seccomp profile is not json: {error}") from None
    made_from = f"{PROFILE_VERSION} {system.machine} {system.release} {_mask(names):x} {canonical}"
    digest = blake2b(made_from.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()
    path = f"{cache_dir}/seccomp/profile-{digest}.bpf"
    program = _cached(path)
    return _compiled(profile, names, path) if program is None else program
