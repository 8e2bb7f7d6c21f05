"""What Docker 26 declares of the things that `inspect` shows: templates print them as Go prints structs.

JSON alone tells neither the order of a struct's fields nor a map from a struct, a pointer from what it points
to, or what null is. A kind is written as in Go: `[]string`, `*Health`; `{}string` is a map of strings to it.
A struct's fields are `Name:kind` in Docker's order, of a string only the name; `GoName=Name` where the two
differ; `+Kind` is a struct embedded in another: its fields stand among the other's in JSON, and in braces of
their own in print.
"""

from __future__ import annotations

from typing import Any

from estiva.cli.format.struct import NIL_LIST, NIL_POINTER, Map, Nil, Shown, Struct

STRUCTS = {
    "Container": "+*ContainerJSONBase Mounts:[]MountPoint Config:*Config NetworkSettings:*NetworkSettings",
    "ContainerJSONBase": "ID=Id Created Path Args:[]string State:*State Image ResolvConfPath HostnamePath "
    "HostsPath LogPath Node:*Nothing Name RestartCount:int Driver Platform MountLabel ProcessLabel "
    "AppArmorProfile ExecIDs:[]string HostConfig:*HostConfig GraphDriver:GraphDriver SizeRw:*int "
    "SizeRootFs:*int",
    "State": "Status Running:bool Paused:bool Restarting:bool OOMKilled:bool Dead:bool Pid:int ExitCode:int "
    "Error StartedAt FinishedAt Health:*Health",
    "Health": "Status FailingStreak:int Log:[]*HealthcheckResult",
    "HealthcheckResult": "Start:time End:time ExitCode:int Output",
    "GraphDriver": "Data:{}string Name",
    "MountPoint": "Type Name Source Destination Driver Mode RW:bool Propagation",
    "Config": "Hostname Domainname User AttachStdin:bool AttachStdout:bool AttachStderr:bool "
    "ExposedPorts:{}Nothing Tty:bool OpenStdin:bool StdinOnce:bool Env:[]string Cmd:[]string "
    "Healthcheck:*Healthcheck ArgsEscaped:bool Image Volumes:{}Nothing WorkingDir Entrypoint:[]string "
    "NetworkDisabled:bool MacAddress OnBuild:[]string Labels:{}string StopSignal StopTimeout:*int "
    "Shell:[]string",
    "Healthcheck": "Test:[]string Interval:duration Timeout:duration StartPeriod:duration "
    "StartInterval:duration Retries:int",
    "HostConfig": "Binds:[]string ContainerIDFile LogConfig:LogConfig NetworkMode "
    "PortBindings:{}[]PortBinding RestartPolicy:RestartPolicy AutoRemove:bool VolumeDriver "
    "VolumesFrom:[]string ConsoleSize:[]int Annotations:{}string CapAdd:[]string CapDrop:[]string "
    "CgroupnsMode DNS=Dns:[]string DNSOptions=DnsOptions:[]string DNSSearch=DnsSearch:[]string "
    "ExtraHosts:[]string GroupAdd:[]string IpcMode Cgroup Links:[]string OomScoreAdj:int PidMode "
    "Privileged:bool PublishAllPorts:bool ReadonlyRootfs:bool SecurityOpt:[]string StorageOpt:{}string "
    "Tmpfs:{}string UTSMode UsernsMode ShmSize:int Sysctls:{}string Runtime Isolation +Resources "
    "Mounts:[]Mount MaskedPaths:[]string ReadonlyPaths:[]string Init:*bool",
    "LogConfig": "Type Config:{}string",
    "PortBinding": "HostIP=HostIp HostPort",
    "RestartPolicy": "Name MaximumRetryCount:int",
    "Resources": "CPUShares=CpuShares:int Memory:int NanoCPUs=NanoCpus:int CgroupParent BlkioWeight:int "
    "BlkioWeightDevice:[]*WeightDevice BlkioDeviceReadBps:[]*ThrottleDevice "
    "BlkioDeviceWriteBps:[]*ThrottleDevice BlkioDeviceReadIOps:[]*ThrottleDevice "
    "BlkioDeviceWriteIOps:[]*ThrottleDevice CPUPeriod=CpuPeriod:int CPUQuota=CpuQuota:int "
    "CPURealtimePeriod=CpuRealtimePeriod:int CPURealtimeRuntime=CpuRealtimeRuntime:int CpusetCpus "
    "CpusetMems Devices:[]DeviceMapping DeviceCgroupRules:[]string DeviceRequests:[]DeviceRequest "
    "KernelMemory:int KernelMemoryTCP:int MemoryReservation:int MemorySwap:int MemorySwappiness:*int "
    "OomKillDisable:*bool PidsLimit:*int Ulimits:[]*Ulimit CPUCount=CpuCount:int CPUPercent=CpuPercent:int "
    "IOMaximumIOps:int IOMaximumBandwidth:int",
    "WeightDevice": "Path Weight:int",
    "ThrottleDevice": "Path Rate:int",
    "DeviceMapping": "PathOnHost PathInContainer CgroupPermissions",
    "DeviceRequest": "Driver Count:int DeviceIDs:[]string Capabilities:[][]string Options:{}string",
    "Ulimit": "Name Hard:int Soft:int",
    "Mount": "Type Source Target ReadOnly:bool Consistency BindOptions:*BindOptions "
    "VolumeOptions:*VolumeOptions TmpfsOptions:*TmpfsOptions ClusterOptions:*Nothing",
    "BindOptions": "Propagation NonRecursive:bool CreateMountpoint:bool ReadOnlyNonRecursive:bool "
    "ReadOnlyForceRecursive:bool",
    "VolumeOptions": "NoCopy:bool Labels:{}string Subpath DriverConfig:*DriverConfig",
    "DriverConfig": "Name Options:{}string",
    "TmpfsOptions": "SizeBytes:int Mode:mode",
    "NetworkSettings": "+NetworkSettingsBase +DefaultNetworkSettings Networks:{}*EndpointSettings",
    "NetworkSettingsBase": "Bridge SandboxID SandboxKey Ports:{}[]PortBinding HairpinMode:bool "
    "LinkLocalIPv6Address LinkLocalIPv6PrefixLen:int SecondaryIPAddresses:[]Address "
    "SecondaryIPv6Addresses:[]Address",
    "DefaultNetworkSettings": "EndpointID Gateway GlobalIPv6Address GlobalIPv6PrefixLen:int IPAddress "
    "IPPrefixLen:int IPv6Gateway MacAddress",
    "Address": "Addr PrefixLen:int",
    "EndpointSettings": "IPAMConfig:*EndpointIPAMConfig Links:[]string Aliases:[]string MacAddress NetworkID "
    "EndpointID Gateway IPAddress IPPrefixLen:int IPv6Gateway GlobalIPv6Address GlobalIPv6PrefixLen:int "
    "DriverOpts:{}string DNSNames:[]string",
    "EndpointIPAMConfig": "IPv4Address IPv6Address LinkLocalIPs:[]string",
    "Image": "ID=Id RepoTags:[]string RepoDigests:[]string Parent Comment Created Container "
    "ContainerConfig:*Config DockerVersion Author Config:*Config Architecture Variant Os OsVersion Size:int "
    "VirtualSize:int GraphDriver:GraphDriver RootFS:RootFS Metadata:Metadata",
    "RootFS": "Type Layers:[]string",
    "Metadata": "LastTagTime:time",
    "Network": "Name ID=Id Created:time Scope Driver EnableIPv6:bool IPAM:IPAM Internal:bool Attachable:bool "
    "Ingress:bool ConfigFrom:ConfigFrom ConfigOnly:bool Containers:{}EndpointResource Options:{}string "
    "Labels:{}string Peers:[]string Services:{}string",
    "IPAM": "Driver Options:{}string Config:[]IPAMConfig",
    "IPAMConfig": "Subnet IPRange Gateway AuxAddress=AuxiliaryAddresses:{}string",
    "ConfigFrom": "Network",
    "EndpointResource": "Name EndpointID MacAddress IPv4Address IPv6Address",
    "Volume": "ClusterVolume:*Nothing CreatedAt Driver Labels:{}string Mountpoint Name Options:{}string "
    "Scope Status:{}string UsageData:*UsageData",
    "UsageData": "RefCount:int Size:int",
    "Nothing": "",
    "SystemInfo": "+*Info ServerErrors:[]string UserName ClientInfo:*ClientInfo ClientErrors:[]string",
    "Info": "ID Containers:int ContainersRunning:int ContainersPaused:int ContainersStopped:int Images:int "
    "Driver DriverStatus:[][]string SystemStatus:[][]string Plugins:Plugins MemoryLimit:bool SwapLimit:bool "
    "KernelMemory:bool KernelMemoryTCP:bool CPUCfsPeriod=CpuCfsPeriod:bool CPUCfsQuota=CpuCfsQuota:bool "
    "CPUShares:bool CPUSet:bool PidsLimit:bool IPv4Forwarding:bool BridgeNfIptables:bool "
    "BridgeNfIP6tables=BridgeNfIp6tables:bool Debug:bool NFd:int OomKillDisable:bool NGoroutines:int "
    "SystemTime LoggingDriver CgroupDriver CgroupVersion NEventsListener:int KernelVersion OperatingSystem "
    "OSVersion OSType Architecture IndexServerAddress RegistryConfig:*Nothing NCPU:int MemTotal:int "
    "GenericResources:[]string DockerRootDir HTTPProxy=HttpProxy HTTPSProxy=HttpsProxy NoProxy Name "
    "Labels:[]string ExperimentalBuild:bool ServerVersion Runtimes:{}RuntimeWithStatus DefaultRuntime "
    "Swarm:Swarm LiveRestoreEnabled:bool Isolation InitBinary ContainerdCommit:Commit RuncCommit:Commit "
    "InitCommit:Commit SecurityOptions:[]string ProductLicense DefaultAddressPools:[]AddressPool "
    "CDISpecDirs:[]string Warnings:[]string",
    "Plugins": "Volume:[]string Network:[]string Authorization:[]string Log:[]string",
    "RuntimeWithStatus": "+Runtime Status=status:{}string",
    "Runtime": "Path=path Args=runtimeArgs:[]string Type=runtimeType Options=options:{}string",
    "Swarm": "NodeID NodeAddr LocalNodeState ControlAvailable:bool Error RemoteManagers:[]string Nodes:int "
    "Managers:int Cluster:*Nothing Warnings:[]string",
    "Commit": "ID Expected",
    "AddressPool": "Base Size:int",
    "ClientInfo": "Debug:bool +ClientVersion Plugins:[]string Warnings:[]string",
    "Version": "Client:ClientVersion Server:*ServerVersion",
    "ClientVersion": "Platform:*Platform Version APIVersion=ApiVersion DefaultAPIVersion GitCommit GoVersion "
    "Os Arch BuildTime Context",
    "ServerVersion": "Platform:Platform Components:[]Component Version APIVersion=ApiVersion MinAPIVersion "
    "GitCommit GoVersion Os Arch KernelVersion Experimental:bool BuildTime",
    "Platform": "Name",
    "Component": "Name Version Details:{}string",
}
TEXTS = {  # what these say of themselves, wherever they stand
    "Ulimit": "{Name}={Soft}:{Hard}",
    "WeightDevice": "{Path}:{Weight}",
    "ThrottleDevice": "{Path}:{Rate}",
}


class Time(Shown, str):
    """A moment: RFC 3339 in JSON, in print as Go's time.Time shows one."""

    def shown(self) -> str:
        day, between, clock = self.partition("T")
        start = max(clock.find("+"), clock.find("-"))
        clock, zone = (
            (clock[:start], clock[start:].replace(":", "")) if start > 0 else (clock.rstrip("Z"), "")
        )
        clock = clock.rstrip("0").rstrip(".") if "." in clock else clock
        return f"{day} {clock} {zone or '+0000'} {zone or 'UTC'}" if between else str(self)


class Duration(Shown, int):
    """Nanoseconds, in print as Go's time.Duration shows them: 1m30s, 1.5s, 20ms."""

    def shown(self) -> str:
        count, sign = abs(int(self)), "-" if self < 0 else ""
        for unit, size in (("ns", 1), ("µs", 1000), ("ms", 10**6)):
            if 0 < count < size * 1000:
                return sign + _decimal(count, size) + unit
        minutes, rest = divmod(count, 60 * 10**9)
        hours = f"{minutes // 60}h" if minutes >= 60 else ""
        return sign + hours + (f"{minutes % 60}m" if minutes else "") + _decimal(rest, 10**9) + "s"


class Mode(Shown, int):
    """Permissions, in print as Go's fs.FileMode shows them: -rwxr-xr-x."""

    def shown(self) -> str:
        return "-" + "".join(char if self >> (8 - bit) & 1 else "-" for bit, char in enumerate("rwx" * 3))


def _decimal(count: int, size: int) -> str:
    whole, part = divmod(count, size)
    digits = f"{part:0{len(str(size)) - 1}d}".rstrip("0") if part else ""
    return f"{whole}.{digits}" if digits else str(whole)


ZEROS: dict[str, Any] = {
    "string": "",
    "int": 0,
    "bool": False,
    "time": Time("0001-01-01T00:00:00Z"),
    "duration": Duration(0),
    "mode": Mode(0),
}


def shape(value: Any, kind: str) -> Any:
    """A value of JSON as what Docker declares there; None as the zero value of that kind. The JSON of the
    result is that of `value`: what Docker leaves out where it is empty can be asked for, and is not shown."""
    if kind.startswith("*"):
        made = NIL_POINTER if value is None else shape(value, kind[1:])
        if isinstance(made, Struct):
            made.pointer = True
        return made
    if kind.startswith("[]"):
        if not isinstance(value, list):
            return NIL_LIST if value is None else value
        return [shape(each, kind[2:]) for each in value]
    if kind.startswith("{}"):
        zero = shape(None, kind[2:])
        if not isinstance(value, dict):
            return Nil("map[]", zero) if value is None else value
        return Map({key: shape(each, kind[2:]) for key, each in value.items()}, zero)
    if kind in STRUCTS:
        return _struct(value, kind) if isinstance(value, dict | None) else value
    zero = ZEROS[kind]
    if value is None:
        return zero
    if isinstance(zero, Time):
        return Time(value)
    return type(zero)(value) if isinstance(zero, Duration | Mode) else value


def _struct(value: dict[str, Any] | None, kind: str) -> Struct:
    known = value or {}
    made, aside, order = _fields(known, kind)
    aside |= {name: item for name, item in made.items() if name not in known}
    shown = {name: made.get(name, item) for name, item in known.items()}
    text = TEXTS[kind].format(**made) if kind in TEXTS else ""
    return Struct(shown, aside, order, text)


def _fields(value: dict[str, Any], kind: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, bool]]:
    """Of a struct: its fields by their names in JSON, what else a template may ask for, and the order: each
    name, and whether a pointer stands there."""
    made: dict[str, Any] = {}
    aside: dict[str, Any] = {}
    order: dict[str, bool] = {}
    for field in STRUCTS[kind].split():
        names, _, inside = field.partition(":")
        go, _, name = names.rpartition("=")
        if name.startswith("+"):
            inside = name[1:]
            name = inside.lstrip("*")
            within, more, _ = _fields(value, name)
            made |= within
            aside |= more
            aside[name] = shape({key: item for key, item in value.items() if key in within}, inside)
        else:
            made[name] = shape(value.get(name), inside or "string")
            if go:
                aside[go] = made[name]
        order[name] = inside.startswith("*")
    return made, aside, order
