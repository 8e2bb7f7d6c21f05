"""No option is accepted and does nothing.

Every verb is done twice over an engine that only writes down what it is asked: without the option, and with it. What
is asked, printed or written must differ, or the option must be refused by name. The few that ask for what is so anyway
are in SO_ANYWAY, with the reason; asking for the contrary is refused.
"""

import os
import types

import pytest

import estiva.engine
import optionkit
from estiva.cli import main
from estiva.cli import verbs as verb_table
from estiva.cli.context import Context
from estiva.cli.options.run import NOT_YET
from estiva.cmdline import parser
from estiva.view import anatomy

BLOCK = next((f"/dev/{name}" for name in os.listdir("/sys/block") if os.path.exists(f"/dev/{name}")), "")
# What an option of a name is given, where "x" and 7 won't do.
SAMPLES = {
    "add-host": "h:10.0.0.1",
    "annotation": "K=V",
    "attach": "stdout",
    "blkio-weight": "100",
    "blkio-weight-device": f"{BLOCK}:100",
    "build-arg": "A=1",
    "builder": "default",
    "build-context": "more=.",
    "call": "targets",
    "cap": "CAP_KILL",
    "cgroup-parent": "/parent",
    "cgroupns": "host",
    "compression": "zstd",
    "cpu-period": "100000",
    "cpu-quota": "50000",
    "cpus": "0.5",
    "cpuset-cpus": "0",
    "cpuset-mems": "0",
    "device": "/dev/null",
    "device-cgroup-rule": "c 1:3 r",
    "device-read-bps": f"{BLOCK}:1mb",
    "device-write-bps": f"{BLOCK}:1mb",
    "device-read-iops": f"{BLOCK}:9",
    "device-write-iops": f"{BLOCK}:9",
    "dns": "10.0.0.1",
    "dns-search": "example.org",
    "entrypoint": "/bin/sh",
    "env": "A=1",
    "env-file": "env",
    "expose": "81",
    "file": "Otherfile",
    "gidmap": "0:1000:1",
    "gpus": "all",
    "grace": "1h",
    "ipc": "host",
    **dict.fromkeys(
        ("health-interval", "health-start-interval", "health-start-period", "health-timeout", "time-limit"),
        "7s",
    ),
    "health-on-failure": "kill",
    "input": "other.tar",
    "isolation": "hyperv",
    "kernel-memory": "64m",
    "label": "k=v",
    "label-file": "env",
    "log-driver": "none",
    "log-opt": "max-size=1m",
    "memory": "64m",
    "output-limit": "64m",
    "memory-reservation": "32m",
    "memory-swap": "128m",
    "mount": "type=tmpfs,dst=/place",
    "net": "none",
    "aux-address": "one=10.0.0.9",
    "ip": "10.0.0.9",
    "mac-address": "02:42:ac:11:00:02",
    "network": "none",
    "output": "out",
    "pid": "host",
    "platform": "linux/arm64",
    "progress": "quiet",
    "publish": "8080:80",
    "pull": "always",
    "restart": "always",
    "secret": "id=s,src=env",
    "security-opt": "no-new-privileges",
    "shm-size": "1m",
    "since": "10m",
    "ssh": "default=/dev/null",
    "stop-signal": "INT",
    "sysctl": "net.core.somaxconn=9",
    "tail": "3",
    "tmpfs": "/place",
    "type": "image",
    "uidmap": "0:1000:1",
    "ulimit": "nofile=9",
    "until": "10m",
    "userns": "auto",
    "uts": "host",
    "volume": "vol:/place",
    "workdir": "/w",
}
VERB_SAMPLES = {
    ("bake", "file"): "other.json",
    ("bake", "list"): "targets",
    ("bake", "set"): "default.tags=c",
    ("mcp", "output"): "1k",
    ("mcp", "timeout"): "7s",
    ("wait", "interval"): "1s",
    ("anatomy", "interval"): "7",
    ("container prune", "filter"): "label=a",
    ("image prune", "filter"): "label=a",
    ("volume prune", "filter"): "label=a",
    ("network prune", "filter"): "label=a",
    ("network ls", "filter"): "label=a",
    ("network connect", "driver-opt"): "a=b",
    ("network connect", "gw-priority"): "7",
    ("network create", "ipam-opt"): "a=b",
    ("system prune", "filter"): "label=a",
    ("builder du", "filter"): "type=regular",
    ("builder du", "format"): "{{.ID}}",
    ("builder prune", "filter"): "type=regular",
    ("builder prune", "keep-storage"): "1GB",
    ("builder prune", "max-used-space"): "1GB",
    ("builder prune", "min-free-space"): "1GB",
    ("builder prune", "reserved-space"): "1GB",
    ("images", "filter"): "dangling=true",
    ("events", "filter"): "type=image",
    ("events", "format"): "{{.Action}}",
    ("ps", "filter"): "label=a",
    ("ps", "format"): "{{.ID}}",
    ("search", "filter"): "stars=3",
    ("volume ls", "filter"): "name=a",
    ("diff", "format"): "json",
    ("image diff", "format"): "json",
    ("save", "format"): "oci-archive",
    ("import", "change"): "CMD a",
    ("update", "restart"): "always",
    ("manifest add", "platform"): "linux/arm64",
    ("build", "network"): "host",
    ("build", "cgroup-parent"): "/x",
    ("load", "input"): "other.tar",
    ("registry serve", "config"): "other.toml",
    ("registry gc", "config"): "other.toml",
    ("api serve", "idle-timeout"): "7s",
    ("api units", "to"): ".",
}
# What a verb says to be wrong where none of its options is given.
NEEDS = {
    "api serve": "TLS needs",
    "manifest annotate": "nothing to annotate",
    "login": "nobody can be asked",
    **dict.fromkeys(
        (
            "container prune",
            "image prune",
            "volume prune",
            "network prune",
            "builder prune",
            "system prune",
            "system reset",
        ),
        "nobody can be asked",
    ),
}
# A verb's words where one "thing" for each argument won't do; what an option needs beside it.
WORDS = {
    "doctor": ["thing"],
    ("anatomy", "listen"): ["serve"],
    "build": ["."],
    "cp": ["thing", "web:/srv"],
    "volume import": ["data", "thing"],
    "import": ["rootfs.tar"],
    "image copy": ["docker://a:1", "store:b:1"],
    "image from-host": ["sh"],
    "diff": ["one", "two"],
    "manifest create": ["localhost/a:1"],
    "manifest inspect": ["localhost/a:1"],
    "manifest push": ["localhost/a:1"],
}
BESIDE = {
    ("api serve", "tlsverify"): ["--tlscacert", "a", "--tlscert", "b", "--tlskey", "c"],
    ("api serve", "tlscacert"): ["--tlscert", "b", "--tlskey", "c"],
    ("api serve", "tlscert"): ["--tlscacert", "a", "--tlskey", "c"],
    ("api serve", "tlskey"): ["--tlscacert", "a", "--tlscert", "b"],
    ("anatomy", "interval"): ["--watch"],
    ("login", "password-stdin"): ["-u", "ana"],
    ("login", "password"): ["-u", "ana"],
    ("login", "username"): ["-p", "secret"],
    ("run", "memory-swap"): ["-m", "64m"],
    ("build", "memory-swap"): ["-m", "64m"],
    ("create", "memory-swap"): ["-m", "64m"],
    ("update", "memory-swap"): ["-m", "64m"],
    ("start", "detach-keys"): ["-a", "-i"],
    ("container prune", "filter"): ["-f"],
    ("image prune", "filter"): ["-f"],
    ("volume prune", "filter"): ["-f"],
    ("network prune", "filter"): ["-f"],
    ("system prune", "filter"): ["-f"],
    ("builder prune", "filter"): ["-f"],
    ("builder prune", "keep-storage"): ["-f"],
    ("builder prune", "max-used-space"): ["-f"],
    ("builder prune", "min-free-space"): ["-f"],
    ("builder prune", "reserved-space"): ["-f"],
    ("image prune", "all"): ["-f"],
    ("volume prune", "all"): ["-f"],
    ("system prune", "all"): ["-f"],
    ("system prune", "volumes"): ["-f"],
    ("builder prune", "all"): ["-f"],
    ("build", "push"): ["-t", "x"],
}
BAKE = {
    "docker-bake.json": '{"target": {"default": {"tags": ["a"]}}}',
    "other.json": '{"target": {"default": {"tags": ["b"]}}}',
}
IMAGE = {
    "Id": "sha256:" + "a" * 64,
    "RepoTags": ["web:1"],
    "RepoDigests": [f"web@sha256:{'b' * 64}"],
    "Created": 1000000000,
    "Size": 123456,
    "Labels": {},
    "Containers": 0,
}
RECORD = {
    "Id": "c" * 64,
    "Created": "2024-11-24T13:38:00Z",
    "Path": "sh",
    "Args": ["-c", "echo a long enough command"],
    "State": {
        "Status": "exited", "Running": False, "Restarting": False, "Paused": False, "ExitCode": 0, "FinishedAt": "2024-11-24T13:38:00Z",
    },
    "Image": IMAGE["Id"],
    "Name": "/web",
    "Config": {"Image": "web:1", "OpenStdin": True},
    "HostConfig": {"NetworkMode": "bridge"},
    "NetworkSettings": {"Ports": {}},
    "Mounts": [],
}  # fmt: skip
EVENT = {
    "Type": "volume", "Action": "create", "Actor": {"ID": "data", "Attributes": {}}, "scope": "local",
    "time": 1, "timeNano": 10**9,
}  # fmt: skip
PART = {"count": 1, "active": 1, "size": 10, "reclaimable": 5}
FIGURES = {
    "memory": {"usage": 1, "working_set": 1, "limit": 2},
    "cpu": {"usage_ns": 1},
    "pids": {"current": 1},
    "io": {},
    "network": {},
}
INFO = (
    "ServerVersion", "Containers", "ContainersRunning", "ContainersPaused", "ContainersStopped", "Images", "Driver",
    "CgroupDriver", "CgroupVersion", "KernelVersion", "OperatingSystem", "Architecture", "NCPU", "MemTotal", "Name",
    "EstivaRootDir", "EstivaRunRootDir", "EstivaSettings",
)  # fmt: skip
LAYER = {
    "diff_id": "sha256:" + "d" * 64,
    "size": 1,
    "added": 1,
    "changed": 1,
    "removed": 0,
    "wasted": 0,
    "created_by": "RUN a" + "b" * 90,
}
RETURNS = {
    **{f"engine.containers.control.{verb}": [] for verb in ("stopping", "restarting", "killing", "removing")},
    "engine.containers.create.create": RECORD,
    "engine.containers.create.prepare": lambda journal: optionkit.Thing(journal, "start", id="c" * 64, record=RECORD),
    "engine.builds.build.build": IMAGE["Id"],
    "engine.builds.build.outputs_of": [],
    "engine.builds.call.call": {"warnings": [], "targets": [], "sources": [{"filename": "Dockerfile", "data": ""}]},
    "engine.images.lookup.resolve": types.SimpleNamespace(size=9),
    "engine.images.platforms.mismatch": "",
    "engine.system.info": dict.fromkeys(INFO, 1) | {"SecurityOptions": [], "Warnings": []},
    "engine.images.inspect.listing": [IMAGE],
    "engine.images.inspect.history": [
        {"Id": IMAGE["Id"], "Created": 9, "CreatedBy": "RUN a" + "b" * 60, "Size": 10**6, "Comment": ""}
    ],
    "engine.images.inspect.layers": [LAYER],
    "engine.images.inspect.diff": [("A", "/file")],
    "engine.images.inspect.inspect": {"Id": "image"},
    "engine.images.lookup.remove": ["Untagged: x"],
    "engine.images.lookup.prune": ([], 0),
    "engine.images.lookup.tags": ["thing:1", "thing:2"],
    "engine.images.lookup.names": ["web:1"],
    "engine.images.lookup.digests": ["sha256:e"],
    "engine.images.registry.remote_tags": ["thing:1", "thing:2"],
    "engine.images.registry.referrers": (
        "sha256:f",
        [{"digest": "sha256:f", "mediaType": "a/b", "artifactType": "c/d", "size": 3}],
    ),
    "engine.images.registry.search": [
        {"Name": "n", "Description": "d" * 60, "StarCount": 3, "IsOfficial": True}
    ],
    "view.anatomy.of": anatomy._made(
        kind="image", id="x", name="x", status="", image="", created="", layers=(), config=anatomy._config({}, [])
    ),
    "engine.images.archive.load": ["web:1"],
    "engine.events.events": [EVENT],
    "engine.containers.listing.listing": [RECORD],
    "engine.containers.inspect.inspect": {**RECORD},
    "engine.containers.changes.size": 5,
    "engine.containers.exec.plan": {},
    "engine.containers.sweep.prune": ([], 0),
    "engine.state.lookup.resolve": RECORD,
    "engine.volumes.listing": [
        {"Name": "data", "Driver": "local", "Mountpoint": "/m", "Scope": "local", "Labels": None}
    ],
    "engine.volumes.prune": ([], 0),
    "engine.volumes.inspect": {"Name": "data"},
    "engine.networks.look.listing": [
        {"Name": "lab", "Id": "a" * 64, "Driver": "bridge", "Scope": "local", "Created": "", "EnableIPv6": False,
         "Internal": False, "Labels": {}}
    ],
    "engine.networks.look.inspect": {"Name": "lab", "Driver": "bridge"},
    "engine.networks.create.create": "a" * 64,
    "engine.networks.remove.prune": [],
    "engine.networks.remove.reload": [],
    "engine.system.df": {
        **dict.fromkeys(("images", "containers", "volumes", "build_cache"), PART),
        "per_image": {IMAGE["Id"]: {"size": 1, "shared": 1, "unique": 1, "containers": 1}},
        "per_container": {}, "per_volume": {"data": {"size": 1, "links": 1}},
        "per_step": [{"key": "sha256:" + "a" * 64, "created": 0, "used": 0, "size": 1, "shared": False}],
    },
    "engine.reset.look": {"containers": 1, "running": 0, "images": 1, "volumes": 1, "bytes": 1, "bridge": "", "registry": ""},
    "engine.reset.reset": [],
    "engine.explain.running.examine": ([], []),
    "engine.system.check": {"swept": [], "repaired": [], "kept": [], "problems": []},
    "engine.system.prune": {
        "failed": [], "swept": [], "containers": [], "networks": [], "volumes": [], "images": [], "build_cache": 0, "busy": False,
        "bytes": 0,
    },
    "engine.builds.upkeep.prune": {"steps": 0, "mounts": [], "busy": False, "bytes": 0},
    "engine.builds.upkeep.entries": [
        types.SimpleNamespace(id="a" * 64, type="regular", description="RUN " + "x" * 99, created=0, used=0, size=1, shared=False,
                              busy=False)
    ],
    "engine.builds.upkeep.remove": [],
    "engine.images.manifest_lists.inspect": {},
    "engine.images.manifest_lists.add": [],
    "engine.images.manifest_lists.names": [],
    "engine.containers.update.update": [],
    "engine.containers.cp.copying.copy": types.SimpleNamespace(left_out=[], omitted=0, bytes=0),
}  # fmt: skip
SINGLE = (
    "cli.container.foreground.attend",
    "cli.container.foreground.attend_exec",
    "cli.container.attach.attach_to",
    "cli.container.mcp.become",
    "api.server.serve",
    "registry.server.server.serve",
    "registry.server.config.load",
    "registry.server.maintenance.collect_now",
    "view.anatomy.of",
    "view.web.server.serve",
    "cli.explain.lesson.play",
    "cli.explain.anatomy._watch",
)
PURE = (
    "engine.spec", "engine.images.outfile", "engine.images.filters", "engine.images.lookup.parse",
    "engine.containers.tasks", "engine.containers.listing.command", "engine.containers.listing.status", "engine.bake",
)  # fmt: skip
# Flags that are true unless they are given as false.
DEFAULT_TRUE = {
    ("run", "sig-proxy"),
    ("attach", "sig-proxy"),
    ("commit", "pause"),
    ("history", "human"),
    ("api serve", "reaper"),
}
# What asks for what is so anyway -> why. Where the contrary can be asked for, CONTRARY has it.
SO_ANYWAY = {
    ("api serve", "tlsverify"): "its files ask for it",
    ("wait", "ignore"): "what is named is there",
    ("anatomy", "no-color"): "what goes to no terminal has no colours",
    ("wait", "interval"): "how often it is looked at is not written down here",
    ("network create", "ipv4"): "every network has IPv4 addresses",
    ("network inspect", "verbose"): "it tells more of swarm networks alone",
    ("load", "quiet"): "there is no progress to show",
    ("cp", "quiet"): "how much was copied is told to terminals alone",
    ("run", "disable-content-trust"): "signatures are never asked for",
    ("create", "disable-content-trust"): "signatures are never asked for",
    ("pull", "disable-content-trust"): "signatures are never asked for",
    ("push", "disable-content-trust"): "signatures are never asked for",
    ("build", "disable-content-trust"): "signatures are never asked for",
    ("build", "compress"): "no context is sent anywhere",
    ("build", "force-rm"): "no step leaves a container behind",
    ("build", "rm"): "no step leaves a container behind",
    ("build", "builder"): "there is one builder, called default",
    ("bake", "builder"): "there is one builder, called default",
    ("builder prune", "all"): "all of the cache goes anyway",
    ("rmi", "no-prune"): "no parents go with an image",
    ("manifest push", "all"): "a list is sent with its images",
    ("manifest create", "insecure"): "of a registry on loopback",
    ("manifest inspect", "insecure"): "of a registry on loopback",
    ("manifest push", "insecure"): "of a registry on loopback",
}
# Words that ask for the contrary, or for more than there is -> how the answer begins.
CONTRARY = [
    *[(f"{verb} --disable-content-trust=false x", "estiva: --disable-content-trust=false is not supported")
      for verb in ("run", "create", "pull", "push")],
    ("build --disable-content-trust=false .", "estiva: --disable-content-trust=false is not supported"),
    ("build --rm=false .", "WARNING: build --rm=false has no effect"),
    ("build --builder other .", "estiva: build --builder other is not supported"),
    ("build --progress tty .", "estiva: --progress tty needs a terminal"),
    ("build --progress fancy .", "estiva: invalid --progress 'fancy'"),
    ("manifest push --all=false x:1", "estiva: manifest push --all=false is not supported"),
    ("manifest push --insecure example.org/x:1", "estiva: --insecure is not supported for example.org"),
    ("manifest create --insecure x:1 example.org/x:1", "estiva: --insecure is not supported for docker.io"),
    ("manifest inspect --insecure 10.0.0.7:5000/x:1", "estiva: --insecure is not supported for 10.0.0.7:5000"),
    ("manifest inspect --verbose x:1", "estiva: manifest inspect --verbose is not supported yet"),
    ("inspect --size --type image x", "WARNING: --size ignored for images"),
    ("network create --ipv4=false x", "estiva: --ipv4=false is not supported"),
]  # fmt: skip
# Refused whatever they are given: what is not there yet.
REFUSED = (
    {(verb, name) for verb in ("run", "create") for name in NOT_YET}
    | {("build", name) for name in ("security-opt",)}
    | {("manifest inspect", "verbose")}
    | {("build", "shell-on-failure")}  # without a terminal; with one: tests/system/builder
    | {
        ("network create", name)
        for name in ("config-from", "config-only", "ingress", "scope", "ipam-driver", "ipam-opt")
    }
)


@pytest.fixture(scope="module")
def journal():
    with optionkit.journal([estiva.engine], SINGLE, RETURNS, PURE) as made:
        yield made


@pytest.fixture
def stage(journal, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SSH_AUTH_SOCK", "")
    monkeypatch.setenv("ESTIVA_CDI_SPEC_DIRS", "cdi")
    return optionkit.Stage(journal, tmp_path, monkeypatch, capsys, BAKE)


def estiva_verbs():
    found = {}
    for name, entry in verb_table.VERBS.items():
        found.setdefault(entry, name)
    for group, verbs in verb_table.GROUPS.items():
        for name, entry in verbs.items():
            found.setdefault(entry, f"{group} {name}")
    return {name: verb_table.load(entry) for entry, name in found.items()}


VERBS = estiva_verbs()
OPTIONS = [(name, option) for name, verb in VERBS.items() for option in verb.options]


def given(verb, option):
    """The words that give an option a sample."""
    name, kind = option[1], option[2]
    if kind == parser.FLAG:
        return [f"--{name}=false" if (verb, name) in DEFAULT_TRUE else f"--{name}"]
    sample = VERB_SAMPLES.get((verb, name)) or SAMPLES.get(name)
    return [f"--{name}", sample or ("7" if kind == parser.INT else "x")]


@pytest.mark.parametrize(
    ("name", "option"), OPTIONS, ids=[f"{name} --{option[1]}" for name, option in OPTIONS]
)
def test_an_option_changes_what_is_done_or_is_refused_by_name(name, option, stage):
    verb = VERBS[name]
    words = WORDS.get((name, option[1])) or WORDS.get(name, ["thing"] * verb.least)
    beside = BESIDE.get((name, option[1]), [])
    context = Context()
    paths = optionkit.Thing(stage.journal, "engine.paths", root="/root", run_root="/run-root")
    context._engine = optionkit.Thing(stage.journal, "engine", paths=paths)
    without, trouble = stage.done(verb, [*beside, *words], context)
    assert trouble is None or name in NEEDS and NEEDS[name] in trouble, trouble
    seen, told = stage.done(verb, [*beside, *given(name, option), *words], context)
    if (name, option[1]) in REFUSED:
        assert told is not None and option[1] in told, told
    else:
        assert told is None, told
        assert (seen == without) == ((name, option[1]) in SO_ANYWAY), seen


def test_the_lists_of_exceptions_name_options_that_there_are():
    known = {(name, option[1]) for name, option in OPTIONS}
    assert set(SO_ANYWAY) | REFUSED | DEFAULT_TRUE | set(BESIDE) | set(VERB_SAMPLES) <= known


@pytest.mark.parametrize(("line", "answer"), CONTRARY)
def test_the_contrary_is_refused_or_warned_of(line, answer, stage, capsys, monkeypatch, tmp_path):
    (tmp_path / "Dockerfile").touch()
    monkeypatch.chdir(tmp_path)
    status = main.run(line.split())
    told = capsys.readouterr()
    assert told.err.startswith(answer), told.err
    assert (status == 0) == answer.startswith("WARNING")


def test_insecure_is_so_anyway_on_loopback(stage, capsys):
    for host in ("localhost:5000", "127.0.0.1:5000", "localhost"):
        assert main.run(["manifest", "push", "--insecure", f"{host}/x:1"]) == 0
        assert main.run(["manifest", "create", "--insecure", f"{host}/x:1"]) == 0
