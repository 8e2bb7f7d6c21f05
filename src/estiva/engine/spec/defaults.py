"""What a container has unless something else is asked for, and what is loaded only when it is: constants, for
modules of the cold path.
"""

from __future__ import annotations

PIDS_LIMIT = 2048  # processes
SHM_SIZE = 64 << 20  # bytes
HOSTNAME_LIMIT = 64  # bytes: __NEW_UTS_LEN of include/linux/utsname.h

ULIMITS = (
    "as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss",
    "rtprio", "rttime", "sigpending", "stack",
)  # fmt: skip

# the keys of HostConfig that engine/spec/resources.py is loaded for
RESOURCES = frozenset((
    "BlkioDeviceReadBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteBps", "BlkioDeviceWriteIOps", "BlkioWeight",
    "BlkioWeightDevice", "CgroupParent", "CpuPeriod", "CpuQuota", "CpuRealtimePeriod", "CpuRealtimeRuntime",
    "CpuShares", "CpusetCpus", "CpusetMems", "DeviceCgroupRules", "Devices", "Isolation", "KernelMemory",
    "Memory", "MemoryReservation", "MemorySwap", "MemorySwappiness", "NanoCpus", "OomKillDisable",
    "OomScoreAdj", "PidsLimit", "ShmSize",
))  # fmt: skip

# the keys that engine/spec/namespaces.py is loaded for
MODES = frozenset((
    "PidMode", "IpcMode", "UTSMode", "UsernsMode", "CgroupnsMode", "IDMappings", "SubuidName", "SubgidName",
))  # fmt: skip
