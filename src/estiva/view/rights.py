"""What the first process of a container may do: capabilities(7) and seccomp(2), in words."""

from __future__ import annotations

from estiva.runtime.security.capabilities import ALL_CAPABILITIES, DEFAULT_CAPABILITIES
from estiva.speech import count, say
from estiva.view.seen import Seen, clean
from estiva.view.shapes import Capability, Rights

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.types import Record, RunState

WORDS = {
    "CAP_CHOWN": "give files to other users",
    "CAP_DAC_OVERRIDE": "read and write files whatever their mode says",
    "CAP_DAC_READ_SEARCH": "read files and folders whatever their mode says",
    "CAP_FOWNER": "change modes and times of others' files",
    "CAP_FSETID": "keep the setuid and setgid bits of files that it changes",
    "CAP_KILL": "send signals to other users' processes",
    "CAP_SETGID": "become any group",
    "CAP_SETUID": "become any user",
    "CAP_SETPCAP": "give up capabilities, also for its children",
    "CAP_LINUX_IMMUTABLE": "set the immutable and append-only flags of files",
    "CAP_NET_BIND_SERVICE": "listen on ports below 1024",
    "CAP_NET_BROADCAST": "send to broadcast addresses",
    "CAP_NET_ADMIN": "change interfaces, routes and firewall of its network",
    "CAP_NET_RAW": "send packets of its own making (ping, and forged ones)",
    "CAP_IPC_LOCK": "keep memory from being swapped out",
    "CAP_IPC_OWNER": "use others' shared memory and semaphores",
    "CAP_SYS_MODULE": "load kernel modules: that is all of the machine",
    "CAP_SYS_RAWIO": "reach ports and memory of devices: that is all of the machine",
    "CAP_SYS_CHROOT": "change its root folder, and enter mount namespaces",
    "CAP_SYS_PTRACE": "look into and change others' processes",
    "CAP_SYS_PACCT": "switch process accounting",
    "CAP_SYS_ADMIN": "mount, and much else: nearly all of the machine",
    "CAP_SYS_BOOT": "restart the machine",
    "CAP_SYS_NICE": "raise priorities, and choose processors of others",
    "CAP_SYS_RESOURCE": "go beyond quotas and hard limits",
    "CAP_SYS_TIME": "set the machine's clock",
    "CAP_SYS_TTY_CONFIG": "hang up and configure terminals",
    "CAP_MKNOD": "make device nodes (which ones can be opened, its cgroup says)",
    "CAP_LEASE": "take leases on any file",
    "CAP_AUDIT_WRITE": "write to the audit log",
    "CAP_AUDIT_CONTROL": "change the audit rules",
    "CAP_SETFCAP": "give capabilities to files",
    "CAP_MAC_OVERRIDE": "pass over mandatory access control",
    "CAP_MAC_ADMIN": "change mandatory access control",
    "CAP_SYSLOG": "read the kernel's log and addresses",
    "CAP_WAKE_ALARM": "set timers that wake the machine up",
    "CAP_BLOCK_SUSPEND": "keep the machine from sleeping",
    "CAP_AUDIT_READ": "read the audit log",
    "CAP_PERFMON": "measure all that runs",
    "CAP_BPF": "load BPF programs",
    "CAP_CHECKPOINT_RESTORE": "choose pids and restore processes",
}
MODES = {"0": "disabled", "1": "strict", "2": "filter"}


def gather(record: Record, live: RunState, init: Seen) -> Rights:
    """Raises OSError, ValueError."""
    status = init.status()
    effective = int(status.get("CapEff", "0"), 16)
    bounding = int(status.get("CapBnd", "0"), 16)
    has = [name for name, bit in ALL_CAPABILITIES.items() if effective >> bit & 1]
    may = [name for name, bit in ALL_CAPABILITIES.items() if bounding >> bit & 1]
    seccomp = MODES.get(status.get("Seccomp", "0"), "disabled")
    quiet = status.get("NoNewPrivs") == "1"
    try:
        label = init.read("attr/current").strip("\0\n ")
    except OSError:
        label = ""
    says = [_capabilities(has, may)]
    says.append(_seccomp(seccomp, live))
    says.append(
        say("no program can give it more (no_new_privs)")
        if quiet
        else say("setuid programs and files with capabilities can give it more, within its bounding set")
    )
    if record["HostConfig"].get("Privileged"):
        says.append(say("it is privileged: it can take over the machine"))
    return Rights(
        capabilities=tuple(Capability(name, say(WORDS[name]), name in DEFAULT_CAPABILITIES) for name in has),
        lacking=tuple(name for name in DEFAULT_CAPABILITIES if name not in has),
        seccomp=seccomp,
        filters=int(status.get("Seccomp_filters", "0")),
        no_new_privileges=quiet,
        label=clean(label, 200) if label not in ("", "unconfined") else "",
        says=tuple(says),
    )


def _capabilities(has: list[str], may: list[str]) -> str:
    every = len(ALL_CAPABILITIES)
    if not has and may:
        return say("no capabilities: it is not root; {n} could come back by setuid programs", n=len(may))
    if not has:
        return say("no capabilities at all")
    text = say("{n} of {all} capabilities", n=len(has), all=every)
    beyond = [name for name in has if name not in DEFAULT_CAPABILITIES]
    if beyond:
        return text + ", " + count(len(beyond), "{n} more than usual", "{n} more than usual")
    return text


def _seccomp(mode: str, live: RunState) -> str:
    if mode == "disabled":
        return say("seccomp: no filter, every system call of the kernel can be made")
    if mode == "strict":
        return say("seccomp: only read, write, exit and sigreturn")
    if live["seccomp"] and "profile" in live["seccomp"]:
        return say("seccomp: the filter of a profile of one's own; what it refuses fails or kills")
    return say(
        "seccomp: the built-in profile; mounting, loading modules, new namespaces, ptrace of others and "
        "other calls that containers don't need fail, unless a capability allows them"
    )
