"""bpf(2) as far as a cgroup's device filter needs it: load a program, attach it, find and detach what is
attached."""

from __future__ import annotations

import os
from _struct import pack_into, unpack_from

from estiva.linux import ffi as ctypes
from estiva.linux.libc import check, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SYS_bpf = 321 if os.uname().machine == "x86_64" else 280

BPF_PROG_LOAD = 5
BPF_PROG_ATTACH = 8
BPF_PROG_DETACH = 9
BPF_PROG_GET_FD_BY_ID = 13
BPF_PROG_QUERY = 16
BPF_PROG_TYPE_CGROUP_DEVICE = 15
BPF_CGROUP_DEVICE = 6
BPF_F_ALLOW_MULTI = 2

_ATTR_SIZE = 72  # of union bpf_attr, as far as it is used here
_bpf = syscall(ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)


def _call(command: int, attribute: Any, what: str) -> int:
    return check(_bpf(SYS_bpf, command, attribute, _ATTR_SIZE), what)


def load_device_program(code: bytes) -> int:
    """BPF_PROG_LOAD of a cgroup device program (struct bpf_insn, 8 bytes each); returns its close-on-exec
    fd."""
    attribute = ctypes.create_string_buffer(_ATTR_SIZE)
    instructions = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"GPL")
    # prog_type, insn_cnt, insns, license, log_level, log_size, log_buf, kern_version, prog_flags, prog_name
    pack_into(
        "=IIQQIIQII16s",
        attribute,
        0,
        BPF_PROG_TYPE_CGROUP_DEVICE,
        len(code) // 8,
        ctypes.addressof(instructions),
        ctypes.addressof(licence),
        0,
        0,
        0,
        0,
        0,
        b"estiva_devices",
    )
    return _call(BPF_PROG_LOAD, attribute, "device filter")


def attach_device_program(cgroup_fd: int, program_fd: int) -> None:
    """BPF_PROG_ATTACH beside what is attached already: a device must pass all of them."""
    attribute = ctypes.create_string_buffer(_ATTR_SIZE)
    pack_into("=IIII", attribute, 0, cgroup_fd, program_fd, BPF_CGROUP_DEVICE, BPF_F_ALLOW_MULTI)
    _call(BPF_PROG_ATTACH, attribute, "device filter")


def attached_device_programs(cgroup_fd: int) -> list[int]:
    """BPF_PROG_QUERY: the ids of the device programs attached to this very cgroup (at most 64)."""
    attribute = ctypes.create_string_buffer(_ATTR_SIZE)
    ids = ctypes.create_string_buffer(64 * 4)
    # target_fd, attach_type, query_flags, attach_flags, prog_ids, prog_cnt
    pack_into("=IIIIQI", attribute, 0, cgroup_fd, BPF_CGROUP_DEVICE, 0, 0, ctypes.addressof(ids), 64)
    _call(BPF_PROG_QUERY, attribute, "device filter")
    (count,) = unpack_from("=I", attribute, 24)
    return list(unpack_from(f"={min(count, 64)}I", ids, 0))


def detach_device_program(cgroup_fd: int, program_id: int) -> None:
    """BPF_PROG_DETACH by the id that `attached_device_programs` gave."""
    attribute = ctypes.create_string_buffer(_ATTR_SIZE)
    pack_into("=I", attribute, 0, program_id)
    program_fd = _call(BPF_PROG_GET_FD_BY_ID, attribute, "device filter")
    try:
        os.set_inheritable(program_fd, False)
        attribute = ctypes.create_string_buffer(_ATTR_SIZE)
        pack_into("=IIII", attribute, 0, cgroup_fd, program_fd, BPF_CGROUP_DEVICE, 0)
        _call(BPF_PROG_DETACH, attribute, "device filter")
    finally:
        os.close(program_fd)
