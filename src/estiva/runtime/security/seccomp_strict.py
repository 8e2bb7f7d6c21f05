"""The system-call filter of --profile untrusted: the default one (seccomp_profile.py) without what ordinary
programs can do without, and has been a way into the kernel, or out of a sandbox.

Whoever changes it raises PROFILE_VERSION in runtime/security/seccomp.py.
"""

from __future__ import annotations

from estiva.runtime.security import seccomp_profile as default

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# refused with EPERM
WITHOUT = (
    # what looks into other processes, or changes them
    "ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd process_mrelease process_madvise",
    # memory that nobody else sees; tables of segments; pages mapped out of order
    "memfd_secret modify_ldt remap_file_pages",
    # asynchronous input and output of the old kind, and pages lent to a pipe
    "io_setup io_submit io_destroy io_cancel io_getevents io_pgetevents io_pgetevents_time64 vmsplice",
    # file handles, watching whole filesystems, the clock, what only tracers of the kernel ask for
    "name_to_handle_at fanotify_mark fanotify_init adjtimex clock_adjtime clock_adjtime64 uretprobe ipc",
)

TIOCSTI, TIOCLINUX, TIOCSETD = 0x5412, 0x541C, 0x5423  # typed for the user; the console; line disciplines
IOCTLS = (TIOCSTI, TIOCLINUX, TIOCSETD)
FAMILIES = (1, 2, 10)  # AF_UNIX, AF_INET, AF_INET6


def all_but(values: tuple[int, ...]) -> list[tuple[int, int]]:
    """Every number of 32 bits but `values`, as (mask, value). The kernel looks at the low half of these
    arguments only, so a plain "not equal" would let 2^32 + value pass."""
    found = []

    def split(prefix: int, bits: int) -> None:
        inside = [value for value in values if value >> (32 - bits) == prefix]
        if not inside:
            found.append(((0xFFFFFFFF << (32 - bits)) & 0xFFFFFFFF, prefix << (32 - bits)))
        elif bits < 32:
            split(prefix << 1, bits + 1)
            split(prefix << 1 | 1, bits + 1)

    split(0, 0)
    return found


def profile() -> dict[str, Any]:
    """In Docker's JSON form, as seccomp_profile.profile."""
    result = default.profile()
    without = {"ioctl", *" ".join(WITHOUT).split()}
    rules: list[dict[str, Any]] = []
    for rule in result["syscalls"]:
        names = rule["names"]
        if names in (["socket"], ["personality"]):
            continue
        rules.append({**rule, "names": [name for name in names if name not in without]})
    rules = [rule for rule in rules if rule["names"]]

    def allow(name: str, index: int, mask: int, value: int) -> None:
        test = {"index": index, "op": "SCMP_CMP_MASKED_EQ", "value": mask, "valueTwo": value}
        rules.append({"names": [name], "action": "SCMP_ACT_ALLOW", "args": [test]})

    for mask, value in all_but(IOCTLS):
        allow("ioctl", 1, mask, value)
    for family in FAMILIES:
        allow("socket", 0, 0xFFFFFFFF, family)
    refused = {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": default.EAFNOSUPPORT}
    for mask, value in all_but(FAMILIES):
        test = {"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": mask, "valueTwo": value}
        rules.append({**refused, "args": [test]})
    allow("personality", 0, 0xFFFFFFFF, 0)  # what every process has, and the question
    allow("personality", 0, 0xFFFFFFFF, 0xFFFFFFFF)
    own = [{**each, "subArchitectures": []} for each in result["archMap"]]  # no programs of 32 bits
    return {**result, "archMap": own, "syscalls": rules}
