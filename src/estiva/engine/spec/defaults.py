"""TODO docstring."""

from __future__ import annotations

PIDS_LIMIT = 2048


# the keys of HostConfig that engine/spec/resources.py is loaded for
RESOURCES = frozenset((
    "BlkioDeviceReadBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteBps", "BlkioDeviceWriteIOps", "BlkioWeight",
    "BlkioWeightDevice", "CgroupParent", "CpuPeriod", "CpuQuota", "CpuRealtimePeriod", "CpuRealtimeRuntime",
    "CpuShares", "CpusetCpus", "CpusetMems", "DeviceCgroupRules", "Devices", "Isolation", "KernelMemory",
    "Memory", "MemoryReservation", "MemorySwap", "MemorySwappiness", "NanoCpus", "OomKillDisable",
    "OomScoreAdj", "PidsLimit", "ShmSize",
))  # fmt: skip


_MODES = frozenset(("PidMode", "IpcMode", "UTSMode", "UsernsMode", "CgroupnsMode", "IDMappings", "SubuidName",
    "SubgidName"))  # fmt: skip


_NETWORKS = ("bridge", "none", "host", None)


SHM_SIZE = 64 << 20  # bytes


HOSTNAME_LIMIT = 64  # bytes: __NEW_UTS_LEN
