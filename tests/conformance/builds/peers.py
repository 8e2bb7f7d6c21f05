"""Who builds the cases: docker's BuildKit, and Estiva, in network and mount namespaces of their own.

`Lab.build(peer, cases)` has a peer build many at a time, and read afterwards what came of them.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import io
import json
import os
import pathlib
import re
import subprocess
import tarfile
import time
from typing import Any

import ocikit
import savekit
from cases.case import OLD, Case, make
from enginekit import ESTIVA, busybox_tar

SITE = 8000  # the port of a site on loopback, for ADD
REGISTRY = 5999
NEWEST = (1, 20)
LIMIT = 300  # seconds of one build
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
FULL = {
    "Env": [PATH, "BASE=base", "EMPTY="],
    "Entrypoint": ["/bin/sh", "-c"],
    "Cmd": ["echo base"],
    "User": "user",
    "WorkingDir": "/home",
    "Labels": {"base": "yes", "over": "base"},
    "ExposedPorts": {"80/tcp": {}},
    "Volumes": {"/data": {}},
    "StopSignal": "SIGINT",
    "Healthcheck": {"Test": ["CMD", "true"], "Interval": 5_000_000_000},
    "Shell": ["/bin/sh", "-ec"],
    "OnBuild": [],
}
STUBLESS = "stubless:1"  # has no /etc/hosts and /etc/resolv.conf, which a RUN needs to mount its own
BASES: dict[str, dict[str, Any]] = {
    "box:1": {"Env": [PATH], "Cmd": ["sh"]},
    "bare:1": {},
    "full:1": FULL,
    STUBLESS: {"Env": [PATH]},
}


@dataclasses.dataclass
class Built:
    """What a peer made of a case."""

    status: int
    output: str
    document: dict[str, Any] = dataclasses.field(default_factory=dict)
    tree: dict[str, savekit.Node] = dataclasses.field(default_factory=dict)
    asked: bool = True  # False for a reference that is too old for the case
    older: bool = False  # was told what is there for an older one
    frontend: tuple[int, ...] = ()


class Lab(ocikit.Machine):
    """The namespaces, the site, the images that cases start from, and who builds."""

    def __init__(self) -> None:
        super().__init__("builds-")
        os.chmod(self.folder, 0o755)
        self.name = os.path.basename(self.folder)
        self.begin = int(time.time())
        self.env |= {
            "ESTIVA_ROOT": f"{self.folder}/estiva",
            "ESTIVA_RUN_ROOT": f"{self.folder}/estiva-run",
            "ESTIVA_CGROUP_PARENT": f"/estiva-{self.name}",
            "DOCKER_HOST": f"unix://{self.folder}/sock",
            "DOCKER_CONFIG": f"{self.folder}/docker",
            "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
        }
        try:
            pathlib.Path(self.folder, "bases.tar").write_bytes(bases())
            self.done(ESTIVA, "load", "-i", f"{self.folder}/bases.tar")
            self.serve()
            self.ours = Peer(self, "estiva", ESTIVA, "build")
            self.reference = BuildKit(self) if os.environ.get("ESTIVA_TEST_BUILDKIT") else Docker(self)
        except BaseException:
            self.close()
            raise

    def serve(self) -> None:
        """Files and a git repository on loopback, for ADD."""
        from cases.adding import SITE_FILES, git_site

        site = f"{self.folder}/site"
        os.makedirs(site)
        make(site, SITE_FILES)
        git_site(site)
        words = ("python3", "-m", "http.server", "--bind", "127.0.0.1", "--directory", site, str(SITE))
        self.daemon(*words)
        self.daemon("git", "daemon", "--listen=127.0.0.1", "--export-all", f"--base-path={site}", site)

    def done(self, *words: str) -> str:
        status, out, err = self.run(*words)
        assert status == 0, (words[:5], out[-1000:], err[-1000:])
        return out

    def close(self) -> None:
        super().close()
        for top in ("/sys/fs/cgroup", *map(str, pathlib.Path("/sys/fs/cgroup").glob("*/"))):
            for path in sorted(pathlib.Path(f"{top}/estiva-{self.name}").glob("**/"), reverse=True):
                try:
                    path.rmdir()
                except OSError:
                    pass


class Peer:
    """Who builds cases: Estiva, or a reference."""

    frontend: tuple[int, ...] = ()  # of a reference: the version of its Dockerfile frontend

    def __init__(self, lab: Lab, name: str, *program: str) -> None:
        self.lab = lab
        self.name = name
        self.program = program

    def build(self, cases: list[Case], jobs: int) -> dict[str, Built]:
        """What came of each case, by its name."""
        with concurrent.futures.ThreadPoolExecutor(jobs) as threads:
            built = dict(zip([case.name for case in cases], threads.map(self.one, cases), strict=True))
        archive = savekit.Archive()
        good = [name for name, each in built.items() if each.status == 0]
        for path in self.archives(good) if good else []:
            archive.add(path)
            os.unlink(path)
        for name in good:
            built[name].document, built[name].tree = archive.image(f"{name}:1")
        return built

    def archives(self, names: list[str]) -> list[str]:
        """Archives with the images of these cases."""
        path = f"{self.lab.folder}/{self.name}.tar"
        self.lab.done(self.program[0], "save", "-o", path, *(f"{name}:1" for name in names))
        return [path]

    def one(self, case: Case) -> Built:
        old = bool(self.frontend) and case.since > self.frontend
        if old and not case.older:
            return Built(-1, "", asked=False, frontend=self.frontend)
        for number, text in enumerate(case.before, 1):
            before = Case(f"{case.name}-{number}", text, files=case.files)
            built = self.run(before, text, self.kept(before.name))
            if built.status:
                return built
        built = self.run(case, case.older if old else case.text, self.taken(case.name))
        built.older, built.frontend = old, self.frontend
        return built

    def kept(self, name: str) -> list[str]:
        """Options for an image that others start from."""
        return ["-t", f"{name}:1"]

    def taken(self, name: str) -> list[str]:
        """Options for an image that `archives` gives."""
        return self.kept(name)

    def run(self, case: Case, text: str, outcome: list[str]) -> Built:
        folder = f"{self.lab.folder}/of-{self.name}/{case.name}"
        case.lay(folder, text)
        place = [] if case.stdin is not None else ["@"]
        options = [re.sub("^@", case.name, word) for word in (*case.options, *place)]
        words = ("env", "-C", folder, *self.program, "--progress=plain", *outcome, *options)
        done = subprocess.run(
            self.lab.words(*words),
            env={**self.lab.env, **case.env},
            input=None if case.stdin is None else case.stdin.encode(),
            stdin=subprocess.DEVNULL if case.stdin is None else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=LIMIT,
        )
        return Built(done.returncode, done.stdout.decode(errors="replace"))


class Docker(Peer):
    """dockerd with the BuildKit that is in it."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab, "docker", "docker", "buildx", "build")
        config = {
            "data-root": f"{lab.folder}/root",
            "exec-root": f"{lab.folder}/exec",
            "pidfile": f"{lab.folder}/pid",
            "hosts": [lab.env["DOCKER_HOST"]],
            "cgroup-parent": f"estiva-{lab.name}",
        }
        pathlib.Path(lab.folder, "daemon.json").write_text(json.dumps(config))
        os.makedirs("/run/docker", exist_ok=True)
        start = f"mount -t tmpfs none /run/docker && exec dockerd --config-file {lab.folder}/daemon.json"
        lab.daemon("sh", "-c", start)
        lab.until("docker", "version")
        lab.done("docker", "load", "-i", f"{lab.folder}/bases.tar")
        version = lab.done("docker", "version", "-f", "{{.Server.Version}}")
        self.frontend = (1, 7) if int(version.split(".")[0]) < 27 else (1, 10)


class BuildKit(Peer):
    """A buildkitd of the folder that ESTIVA_TEST_BUILDKIT names; images that cases start from are in a registry."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab, "buildkit", "docker", "buildx", "build", "--builder", "remote")
        self.frontend = NEWEST
        where = f"127.0.0.1:{REGISTRY}"
        config = {
            "version": "0.1",
            "http": {"addr": where},
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": f"{lab.folder}/registry"}},
        }
        pathlib.Path(lab.folder, "registry.json").write_text(json.dumps(config))
        lab.daemon("docker-registry", "serve", f"{lab.folder}/registry.json")
        toml = f'[registry."docker.io"]\nmirrors = ["{where}"]\n[registry."{where}"]\nhttp = true\n'
        pathlib.Path(lab.folder, "buildkitd.toml").write_text(toml)
        for name in BASES:
            lab.done(ESTIVA, "tag", name, f"{where}/library/{name}")
            lab.until(ESTIVA, "push", "-q", f"{where}/library/{name}")
        daemon = f"{os.environ['ESTIVA_TEST_BUILDKIT']}/buildkitd"
        socket = f"unix://{lab.folder}/buildkitd.sock"
        words = (
            "--root",
            f"{lab.folder}/buildkit",
            "--addr",
            socket,
            "--config",
            f"{lab.folder}/buildkitd.toml",
        )
        lab.daemon(daemon, *words, "--allow-insecure-entitlement", "network.host")
        lab.until("docker", "buildx", "create", "--name", "remote", "--driver", "remote", socket)
        lab.until("docker", "buildx", "inspect", "--bootstrap", "remote")

    def kept(self, name: str) -> list[str]:
        return ["-o", f"type=image,name=127.0.0.1:{REGISTRY}/library/{name}:1,push=true"]

    def taken(self, name: str) -> list[str]:
        return ["-t", f"{name}:1", "-o", f"type=docker,dest={self.lab.folder}/{name}.tar"]

    def archives(self, names: list[str]) -> list[str]:
        return [f"{self.lab.folder}/{name}.tar" for name in names]


def with_stubs(layer: bytes) -> bytes:
    """The layer with the files that a RUN mounts others over."""
    out = io.BytesIO(layer)
    with tarfile.open(fileobj=out, mode="a") as tar:
        for name in ("etc/hosts", "etc/resolv.conf", "etc/hostname"):
            info = tarfile.TarInfo(name)
            info.mtime = OLD
            tar.addfile(info)
    return out.getvalue()


def bases() -> bytes:
    """A docker-archive of the images that cases start from: one busybox, several configs."""
    import hashlib

    plain = pathlib.Path(busybox_tar()).read_bytes()
    manifest: list[dict[str, Any]] = []
    members: dict[str, bytes] = {}
    for name, config in BASES.items():
        layer = plain if name == STUBLESS else with_stubs(plain)
        diff_id = hashlib.sha256(layer).hexdigest()
        members[f"{diff_id}.tar"] = layer
        document = {
            "architecture": os.uname().machine.replace("x86_64", "amd64").replace("aarch64", "arm64"),
            "os": "linux",
            "created": "2001-02-03T04:05:06Z",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]},
            "history": [{"created": "2001-02-03T04:05:06Z", "created_by": "busybox"}],
        }
        data = json.dumps(document).encode()
        digest = hashlib.sha256(data).hexdigest()
        members[f"{digest}.json"] = data
        manifest.append({"Config": f"{digest}.json", "RepoTags": [name], "Layers": [f"{diff_id}.tar"]})
    members["manifest.json"] = json.dumps(manifest).encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for member, data in members.items():
            info = tarfile.TarInfo(member)
            info.size, info.mtime = len(data), OLD
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()
