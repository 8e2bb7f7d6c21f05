"""What `run` and `create` take: the option table, and its translation to Docker's dicts (cold path).

Config and HostConfig hold what was asked for and no defaults, under the keys of the Docker Engine API.
"""

from __future__ import annotations

from estiva.cmdline.parser import FLAG, INT, LIST, TEXT, Options, UsageError, bad_value, converted
from estiva.errors import InvalidInput, Unsupported, brief

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

TABLE = (
    ("", "add-host", LIST, "HOST:IP", "add a line to the container's /etc/hosts"),
    ("", "allow-host", LIST, "HOST:PORT", "let an untrusted container reach a host"),
    ("", "annotation", LIST, "K=V", "add an annotation"),
    ("a", "attach", LIST, "STREAM", "attach only to stdin, stdout or stderr"),
    ("", "blkio-weight", INT, "N", "block io weight, 10 to 1000"),
    ("", "blkio-weight-device", LIST, "DEV:N", "block io weight for a device"),
    ("", "cap-add", LIST, "CAP", "add a capability"),
    ("", "cap-drop", LIST, "CAP", "drop a capability"),
    ("", "cgroup-parent", TEXT, "CGROUP", "cgroup, or systemd slice, above the container's"),
    ("", "cgroupns", TEXT, "MODE", "cgroup namespace: private, host or container:NAME"),
    ("", "cidfile", TEXT, "FILE", "write the container's id to a new file"),
    ("", "cpu-period", INT, "USEC", "cpu quota period in microseconds"),
    ("", "cpu-quota", INT, "USEC", "cpu time per period in microseconds"),
    ("", "cpu-rt-period", INT, "USEC", "realtime period, only with cgroup v1"),
    ("", "cpu-rt-runtime", INT, "USEC", "realtime runtime per period, only with cgroup v1"),
    ("c", "cpu-shares", INT, "N", "relative cpu weight (1024 is usual)"),
    ("", "cpus", TEXT, "N", "number of cpus, such as 1.5"),
    ("", "cpuset-cpus", TEXT, "LIST", "cpus to run on, such as 0-3,7"),
    ("", "cpuset-mems", TEXT, "LIST", "memory nodes to use"),
    ("", "device", LIST, "HOST[:CTR][:rwm]", "give a host device, or a CDI device (vendor.com/class=name)"),
    ("", "device-cgroup-rule", LIST, "RULE", "allow devices by number, such as 'c 189:* rwm'"),
    ("", "device-read-bps", LIST, "DEV:RATE", "most bytes read from a device in a second"),
    ("", "device-read-iops", LIST, "DEV:RATE", "most reads from a device in a second"),
    ("", "device-write-bps", LIST, "DEV:RATE", "most bytes written to a device in a second"),
    ("", "device-write-iops", LIST, "DEV:RATE", "most writes to a device in a second"),
    ("", "dns", LIST, "IP", "name server to use"),
    ("", "dns-option", LIST, "OPT", "resolver option"),
    ("", "dns-search", LIST, "DOMAIN", "domain to search for names"),
    ("", "domainname", TEXT, "NAME", "NIS domain name"),
    ("", "entrypoint", TEXT, "PATH", "run this instead of the image's entrypoint"),
    ("e", "env", LIST, "K[=V]", "set a variable; K alone takes the host's value"),
    ("", "env-file", LIST, "FILE", "read variables from a file"),
    ("", "expose", LIST, "PORT[/PROTO]", "declare a port or a range of ports"),
    ("", "gpus", TEXT, "WHICH", "gpus, found by CDI: all, a number, or 'device=0,1'"),
    ("", "gidmap", LIST, "CTR:HOST[:N]", "map N group ids of the container to the host's"),
    ("", "group-add", LIST, "GROUP", "add a supplementary group"),
    ("h", "hostname", TEXT, "NAME", "host name inside the container"),
    ("", "init", FLAG, "", "run a small init that reaps zombies and forwards signals"),
    ("i", "interactive", FLAG, "", "keep stdin open"),
    ("", "ipc", TEXT, "MODE", "ipc namespace: private, shareable, none, host or container:NAME"),
    ("l", "label", LIST, "K=V", "set a label"),
    ("", "label-file", LIST, "FILE", "read labels from a file"),
    ("", "log-driver", TEXT, "NAME", "json-file, local, journald, syslog or none"),
    ("", "log-opt", LIST, "K=V", "an option of the log driver, such as max-size=10m"),
    ("m", "memory", TEXT, "BYTES", "memory limit, such as 256m"),
    ("", "memory-reservation", TEXT, "BYTES", "memory that is protected when the host runs short"),
    ("", "memory-swap", TEXT, "BYTES", "memory plus swap; -1 is unlimited"),
    ("", "memory-swappiness", INT, "N", "0 to 100, only with cgroup v1"),
    ("", "mount", LIST, "SPEC", "type=bind|volume|tmpfs|image,src=...,dst=...[,ro]"),
    ("", "name", TEXT, "NAME", "name of the container"),
    ("", "health-cmd", TEXT, "COMMAND", "command that checks the health, by a shell"),
    ("", "health-interval", TEXT, "DURATION", "time between two checks (default 30s)"),
    ("", "health-on-failure", TEXT, "ACTION", "once it is unhealthy: none, kill, restart or stop"),
    ("", "health-retries", INT, "N", "failures in a row that make it unhealthy (default 3)"),
    ("", "health-start-interval", TEXT, "DURATION", "time between two in the start period (default 5s)"),
    ("", "health-start-period", TEXT, "DURATION", "time in which failures do not count (default 0s)"),
    ("", "health-timeout", TEXT, "DURATION", "most time that a check may take (default 30s)"),
    ("", "link", LIST, "CTR[:ALIAS]", "let the container find another by a name"),
    ("", "ip", TEXT, "IP", "IPv4 address, on a network of your own"),
    ("", "ip6", TEXT, "IP", "IPv6 address, on a network of your own"),
    ("", "link-local-ip", LIST, "IP", "one address more, of 169.254.0.0/16 or fe80::/10"),
    ("", "mac-address", TEXT, "MAC", "hardware address"),
    ("", "network", LIST, "NETWORK", "bridge, none, host, container:NAME, or a network, as name=NAME,ip=..."),
    ("", "network-alias", LIST, "NAME", "another name of the container on its network"),
    ("", "no-healthcheck", FLAG, "", "drop the image's health check"),
    ("", "oom-kill-disable", FLAG, "", "don't kill on out of memory, only with cgroup v1"),
    ("", "oom-score-adj", INT, "N", "out-of-memory preference, -1000 to 1000"),
    ("", "output-limit", TEXT, "BYTES", "kill the container once it has written more"),
    ("", "pid", TEXT, "MODE", "pid namespace: host or container:NAME"),
    ("", "pids-limit", INT, "N", "most processes; -1 is unlimited"),
    ("", "platform", TEXT, "OS/ARCH", "platform of the image"),
    ("", "privileged", FLAG, "", "all capabilities and devices, no seccomp filter"),
    ("", "profile", TEXT, "NAME", "untrusted: what runs code that nobody has read is held to"),
    ("p", "publish", LIST, "[IP:]HOST:CTR", "publish a port of the container"),
    ("P", "publish-all", FLAG, "", "publish every exposed port on a free one"),
    ("", "pull", TEXT, "WHEN", "pull the image always, missing or never (default missing)"),
    ("q", "quiet", FLAG, "", "no progress of a pull"),
    ("", "read-only", FLAG, "", "mount the root filesystem read-only"),
    ("", "restart", TEXT, "POLICY", "no, on-failure[:N], always or unless-stopped (default no)"),
    ("", "rm", FLAG, "", "remove the container when it ends"),
    ("", "security-opt", LIST, "OPT", "seccomp=FILE|unconfined, no-new-privileges, unmask=PATH, ..."),
    ("", "shm-size", TEXT, "BYTES", "size of /dev/shm (default 64m)"),
    ("", "stop-signal", TEXT, "SIGNAL", "signal that stops the container"),
    ("", "stop-timeout", INT, "SECONDS", "how long stop waits before it kills"),
    ("", "subgidname", TEXT, "USER", "map the group ids that /etc/subgid gives to a user"),
    ("", "subuidname", TEXT, "USER", "map the user ids that /etc/subuid gives to a user"),
    ("", "sysctl", LIST, "K=V", "kernel setting of the container's namespaces"),
    ("", "time-limit", TEXT, "DURATION", "kill the container after that time, such as 1m30s"),
    ("", "tmpfs", LIST, "PATH[:OPTS]", "mount a tmpfs"),
    ("t", "tty", FLAG, "", "give the container a terminal"),
    ("", "ulimit", LIST, "N=SOFT[:HARD]", "set a resource limit"),
    ("", "uidmap", LIST, "CTR:HOST[:N]", "map N user ids of the container to the host's"),
    ("u", "user", TEXT, "USER[:GROUP]", "run as this user, by name or number"),
    ("", "userns", TEXT, "MODE", "user namespace: auto, keep-id, host or container:NAME"),
    ("", "uts", TEXT, "MODE", "uts namespace: private, host or container:NAME"),
    ("v", "volume", LIST, "SRC:DST[:ro]", "mount a host folder or a volume"),
    ("", "volumes-from", LIST, "CONTAINER[:ro]", "mount what another container has mounted"),
    ("w", "workdir", TEXT, "PATH", "working directory"),
    # Docker's and Podman's other spellings, and what is known but not there yet: read, not shown
    ("", "net", LIST, "", ""),
    ("", "net-alias", LIST, "", ""),
    ("", "dns-opt", LIST, "", ""),
    ("", "kernel-memory", TEXT, "", ""),
    ("", "disable-content-trust", FLAG, "", ""),
    ("", "isolation", TEXT, "", ""),
    ("", "volume-driver", TEXT, "", ""),
    *[("", name, LIST, "", "") for name in (
        "runtime", "storage-opt",
    )],
)  # fmt: skip

# given with a value that asks for something -> not there yet
NOT_YET = frozenset(option[1] for option in TABLE if option[2] == LIST and not option[4]) - {
    "dns-opt",
    "net",
    "net-alias",
}
KIND = {option[1]: option for option in TABLE}
# what cli/options/health.py is loaded for
HEALTH = frozenset(name for name in KIND if name.startswith("health-"))
# what cli/options/limits.py is loaded for
LIMITS = frozenset((
    "blkio-weight", "blkio-weight-device", "cgroup-parent", "cpu-period", "cpu-quota", "cpu-rt-period",
    "cpu-rt-runtime", "cpu-shares", "cpus", "cpuset-cpus", "cpuset-mems", "device-read-bps",
    "device-read-iops", "device-write-bps", "device-write-iops", "kernel-memory", "memory",
    "memory-reservation", "memory-swap", "memory-swappiness", "oom-kill-disable", "oom-score-adj",
    "output-limit", "pids-limit", "shm-size", "time-limit", "ulimit",
))  # fmt: skip


class _Translator:
    def __init__(self, options: Options) -> None:
        self.options = options
        self.config: dict[str, Any] = {}
        self.host: dict[str, Any] = {}

    def read(self, name: str, reader: Callable[[str], Any]) -> Any:
        return converted(KIND[name], self.options.text(name), reader)

    def read_many(self, name: str, reader: Callable[[str], Any]) -> list[Any]:
        return [converted(KIND[name], text, reader) for text in self.options.many(name)]

    def identity(self) -> None:
        """Config: what runs, as whom, with which streams."""
        options, config = self.options, self.config
        config["Image"] = options.arguments[0]
        config["Cmd"] = options.arguments[1:] or None
        if options.given("entrypoint"):
            config["Entrypoint"] = [options.text("entrypoint")]
        for name, key in (
            ("workdir", "WorkingDir"),
            ("user", "User"),
            ("hostname", "Hostname"),
            ("domainname", "Domainname"),
            ("stop-signal", "StopSignal"),
        ):
            if options.given(name):
                config[key] = options.text(name)
        if options.given("stop-timeout"):
            config["StopTimeout"] = options.number("stop-timeout")
        if options.flag("no-healthcheck") or not HEALTH.isdisjoint(options.values):
            from estiva.cli.options import health

            config.update(health.read(options, KIND))
        attach = [stream.lower() for stream in options.many("attach")]
        for stream in attach:
            if stream not in ("stdin", "stdout", "stderr"):
                raise bad_value(KIND["attach"], stream, "valid streams are stdin, stdout and stderr")
        stdin = options.flag("interactive")
        config["Tty"] = options.flag("tty")
        config["OpenStdin"] = stdin
        config["AttachStdin"] = stdin or "stdin" in attach
        config["AttachStdout"] = not attach or "stdout" in attach
        config["AttachStderr"] = not attach or "stderr" in attach
        if stdin:
            config["StdinOnce"] = True
        for name, key in (("env", "Env"), ("label", "Labels")):
            if options.given(name) or options.given(f"{name}-file"):
                from estiva.cli.options import values

                read = values.environment if name == "env" else values.labels
                try:
                    config[key] = read(options.many(f"{name}-file"), options.many(name))
                except ValueError as error:
                    raise UsageError(str(error)) from None

    def limits(self) -> None:
        """HostConfig: what it may use."""
        options, host = self.options, self.host
        if not LIMITS.isdisjoint(options.values):
            from estiva.cli.options import limits

            host.update(limits.read(options, KIND))

    def devices(self) -> None:
        """HostConfig: the host's devices that it may use."""
        options, host = self.options, self.host
        if options.given("device-cgroup-rule"):
            host["DeviceCgroupRules"] = options.many("device-cgroup-rule")
        if options.given("device") or options.given("gpus"):
            from estiva.cli.options import devices

            host.update(devices.read(options, KIND))

    def files(self) -> None:
        """HostConfig: mounts; Config: anonymous volumes."""
        options, host = self.options, self.host
        if options.given("volumes-from"):
            host["VolumesFrom"] = options.many("volumes-from")
        if options.given("volume-driver"):
            host["VolumeDriver"] = options.text("volume-driver")
        if options.given("volume") or options.given("mount") or options.given("tmpfs"):
            from estiva.cli.options import mounts

            binds, anonymous = mounts.volumes(options.many("volume"))
            if binds:
                host["Binds"] = binds
            if anonymous:
                self.config["Volumes"] = anonymous
            if options.given("tmpfs"):
                host["Tmpfs"] = mounts.tmpfs(options.many("tmpfs"))
            if options.given("mount"):
                host["Mounts"] = self.read_many("mount", mounts.mount)
        if options.flag("read-only"):
            host["ReadonlyRootfs"] = True

    def network(self) -> None:
        """HostConfig: the network, ports and names."""
        options, host = self.options, self.host
        host["NetworkMode"] = "default"
        if options.given("network") or options.given("net"):
            host["NetworkMode"] = mode_of((options.many("network") + options.many("net"))[0])
        if options.given("publish") or options.given("expose"):
            from estiva.cli.options import ports

            try:
                bindings = ports.publish(options.many("publish"))
                exposed = [*bindings, *ports.expose(options.many("expose"))]
            except ValueError as error:
                raise InvalidInput(str(error)) from None
            if bindings:
                host["PortBindings"] = bindings
            self.config["ExposedPorts"] = {port: {} for port in exposed}
        if options.flag("publish-all"):
            host["PublishAllPorts"] = True
        for name, key in (("dns", "Dns"), ("dns-search", "DnsSearch")):
            if options.given(name):
                host[key] = [word.strip() for word in options.many(name)]
        if options.given("add-host"):
            from estiva.cli.options import values

            host["ExtraHosts"] = [values.extra_host(word) for word in options.many("add-host")]
        if options.given("dns-option") or options.given("dns-opt"):
            host["DnsOptions"] = options.many("dns-option") + options.many("dns-opt")

    def isolation(self) -> None:
        """HostConfig: rights, namespaces, and what becomes of it afterwards."""
        options, host = self.options, self.host
        for name, key in (("cap-add", "CapAdd"), ("cap-drop", "CapDrop"), ("group-add", "GroupAdd")):
            if options.given(name):
                host[key] = options.many(name)
        if options.text("log-driver") or options.given("log-opt"):
            driver = options.text("log-driver") or "json-file"
            host["LogConfig"] = {"Type": driver, "Config": log_options(options.many("log-opt"))}
        if options.text("restart"):
            from estiva.cli.options import limits

            host["RestartPolicy"] = limits.restart_policy(options.text("restart"))
        for name, key in (("privileged", "Privileged"), ("rm", "AutoRemove")):
            if options.flag(name):
                host[key] = True
        if options.given("profile"):
            host["Profile"] = options.text("profile")
        if options.given("allow-host"):
            host["AllowHosts"] = options.many("allow-host")
        if options.given("init"):
            host["Init"] = options.flag("init")
        if options.given("sysctl"):
            from estiva.cli.options import values

            host["Sysctls"] = dict(self.read_many("sysctl", values.sysctl))
        if options.given("annotation"):
            host["Annotations"] = {
                k: v for k, _, v in (word.partition("=") for word in options.many("annotation"))
            }
        if options.given("security-opt"):
            host.update(security_options(options.many("security-opt")))
        for name, key in (
            ("pid", "PidMode"),
            ("ipc", "IpcMode"),
            ("uts", "UTSMode"),
            ("userns", "UsernsMode"),
            ("cgroupns", "CgroupnsMode"),
            ("subuidname", "SubuidName"),
            ("subgidname", "SubgidName"),
            ("isolation", "Isolation"),
        ):
            if options.text(name):
                host[key] = options.text(name)
        if options.given("uidmap") or options.given("gidmap"):
            host["IDMappings"] = {"UidMap": options.many("uidmap"), "GidMap": options.many("gidmap")}

    def refuse(self) -> None:
        """Say what isn't there yet, rather than leave it out in silence."""
        options = self.options
        for name in options.values:
            if name in NOT_YET:
                raise Unsupported(f"--{name} is not supported yet")


def mode_of(word: str) -> str:
    """The NetworkMode of a word of --network: the name in name=NAME,... or NAME:ip=..., else the word."""
    if "=" not in word or word.startswith(("container:", "ns:")):
        return word
    from estiva.cli.options import networks

    return networks.parse(word)[0]


def log_options(words: list[str]) -> dict[str, str]:
    """HostConfig.LogConfig.Config. Raises InvalidInput."""
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise InvalidInput(f"invalid argument '{brief(word, 60)}' for --log-opt", hint="KEY=VALUE")
        found[key] = value
    return found


def security_options(words: list[str]) -> dict[str, Any]:
    """HostConfig.SecurityOpt and what goes with it, a seccomp profile by its absolute path."""
    from estiva.engine.spec import security_opt

    options = [security_opt.absolute(word) for word in words]
    if any(word.startswith(("systempaths", "mask", "unmask")) for word in options):
        from estiva.engine.spec import confinement

        return confinement.paths(options)
    return {"SecurityOpt": options}


def translate(options: Options) -> tuple[dict[str, Any], dict[str, Any]]:
    """(Config, HostConfig) of the options and arguments of `run` or `create`; what they may be, engine/spec
    judges. Raises UsageError for words that can't be read, Unsupported for what isn't there yet.
    """
    translator = _Translator(options)
    translator.refuse()
    translator.identity()
    translator.limits()
    translator.devices()
    translator.files()
    translator.network()
    translator.isolation()
    return translator.config, translator.host
