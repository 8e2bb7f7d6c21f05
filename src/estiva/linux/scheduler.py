"""Scheduling and placement of the caller: sched_setattr(2), ioprio_set(2), set_mempolicy(2)."""

from __future__ import annotations

from _struct import pack

from estiva.linux import ffi as ctypes
from estiva.linux.libc import SYS_ioprio_set, SYS_sched_setattr, SYS_set_mempolicy, check, syscall

POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
MEMORY_MODES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MEMORY_FLAGS = {
    "MPOL_F_STATIC_NODES": 1 << 15,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_NUMA_BALANCING": 1 << 13,
}

_IOPRIO_CLASS_SHIFT = 13
_IOPRIO_WHO_PROCESS = 1
_IOPRIO_WHO_PGRP = 2
_SIZE = 56  # struct sched_attr with the utilisation clamps (Linux 5.3)

_sched_setattr = syscall(ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
_ioprio_set = syscall(ctypes.c_int, ctypes.c_int, ctypes.c_int)
_set_mempolicy = syscall(ctypes.c_int, ctypes.c_char_p, ctypes.c_ulong)


def sched_setattr(
    policy: int,
    flags: int = 0,
    nice: int = 0,
    priority: int = 0,
    runtime: int = 0,
    deadline: int = 0,
    period: int = 0,
) -> None:
    """sched_setattr(2) of the caller; times in nanoseconds."""
    data = pack("@IIQiIQQQII", _SIZE, policy, flags, nice, priority, runtime, deadline, period, 0, 0)
    name = next((n for n, number in POLICIES.items() if number == policy), str(policy))
    check(_sched_setattr(SYS_sched_setattr, 0, data, 0), name)


def ioprio_set(io_class: int, priority: int) -> None:
    """ioprio_set(2) of the caller's process group, which its children inherit."""
    value = io_class << _IOPRIO_CLASS_SHIFT | priority
    check(_ioprio_set(SYS_ioprio_set, _IOPRIO_WHO_PGRP, 0, value), f"class {io_class} priority {priority}")


def set_mempolicy(mode: int, nodes: frozenset[int]) -> None:
    """set_mempolicy(2) of the caller; `mode` with its flags, `nodes` by number."""
    most = max(nodes, default=-1) + 1
    words = (most + 63) // 64
    mask = sum(1 << node for node in nodes)
    data = mask.to_bytes(words * 8, "little") if words else None
    # The kernel takes one bit less than it is told.
    check(_set_mempolicy(SYS_set_mempolicy, mode, data, most + 1 if words else 0), f"nodes {sorted(nodes)}")
