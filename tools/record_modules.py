#!/usr/bin/env python3
"""Writes src/estiva/boot/modules.py: the modules that cold starts load, from a record of real ones.

    .venv/bin/python tools/record_modules.py

Needs root and what ./test sets up. A copy of the sources, in a temporary folder, notes the name of every
module of ours that is looked for while `run`, `exec` and a `pull` of what is here already go through
`estiva`, a `build` with RUN and COPY and the same one found in the cache through `estiva build`, and `run`,
`create`, `start`, `exec`, `kill` and `delete` through `estiva-oci`. The modules for the version of cgroups
that this machine doesn't have are added. tests/system/boot/test_modules.py compares the record with the list.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import textwrap

CHECKOUT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(CHECKOUT / "tests/support"), str(CHECKOUT / "src")]

import enginekit  # noqa: E402

LIST = CHECKOUT / "src/estiva/boot/modules.py"
SCRIPTS = ("estiva", "estiva-oci")
PROGRAMS = ("estiva", "estiva build", "estiva-oci")
CHANCE = {"estiva.waiting"}  # loaded where a lock happens to be somebody else's: not recorded
INDENT = {"initial_indent": " " * 8, "subsequent_indent": " " * 8}
DOCKERFILE = """
FROM {image} AS one
COPY a /a
RUN cat /a > /b
FROM {image}
WORKDIR /work
COPY --from=one /b ./
CMD ["cat", "b"]
"""
NOTING = """
import posix
import sys

class Noting:
    def __init__(self, program):
        self.program = program

    def find_spec(self, name, path=None, target=None):
        if name.startswith("estiva."):
            try:
                how = posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT
                fd = posix.open(f"{FOLDER}/{self.program}", how, 0o600)
                posix.write(fd, f"{name}\\n".encode())
                posix.close(fd)
            except OSError:
                pass  # a container's root already: nothing of ours is there to be loaded either

def install(program):
    sys.meta_path.insert(0, Noting(program))
    return True
"""
OTHER_CGROUP = """
import sys
sys.path.insert(0, sys.argv[1])
from estiva.boot import quickload
quickload.install(sys.argv[2])
from estiva.runtime import cgroup
version = "v2" if cgroup.version() == "v1" else "v1"
cgroup.version = lambda: version
cgroup.preload()
"""


def record():
    """Program -> the names of the modules that its cold starts load."""
    with tempfile.TemporaryDirectory(prefix="estiva-record-", dir="/var/tmp") as name:
        folder = pathlib.Path(name)
        source = CHECKOUT / "src"
        shutil.copytree(source, folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
        for program in SCRIPTS:
            shutil.copy(CHECKOUT / program, folder)
        (folder / ".venv").symlink_to((CHECKOUT / ".venv").resolve())
        notes = folder / "notes"
        notes.mkdir()
        (folder / "src/estiva/boot/quickload.py").write_text(f"FOLDER = {str(notes)!r}\n{NOTING}")
        with enginekit.host() as box:
            engine(box, folder / "estiva")
            build(box, folder / "estiva")
        oci(folder)
        for program in PROGRAMS:
            words = [CHECKOUT / ".venv/bin/python3", "-I", "-S", "-c", OTHER_CGROUP, folder / "src", program]
            subprocess.run(words, check=True)
        return {program: sorted({*(notes / program).read_text().split()} - CHANCE) for program in PROGRAMS}


def quietly(words, env):
    subprocess.run(words, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)


def engine(box, program):
    """The cold starts of `estiva`. What is only needed for them goes through the checkout's own."""

    def noted(*words):
        quietly([*box.prefix, program, *words], box.env)

    box.estiva("run", "--rm", enginekit.IMAGE, "true")  # makes what only a first run has to
    for network in ("none", "bridge"):
        noted("run", "--rm", "-e", "A=b", "--network", network, enginekit.IMAGE, "true")
    box.estiva("network", "create", "lab")
    box.estiva("run", "--rm", "--network", "lab", enginekit.IMAGE, "true")
    noted("run", "--rm", "--network", "lab", enginekit.IMAGE, "true")
    box.estiva("network", "rm", "lab")
    box.estiva("run", "-d", "--name", "one", enginekit.IMAGE, "sleep", "1000")
    noted("exec", "one", "true")
    box.estiva("rm", "-f", "one")
    words = ["registry", "serve", "--listen", "127.0.0.1:0", "--root", f"{box.folder}/registry"]
    server = box.start(*words, stdout=subprocess.PIPE)
    address = server.stdout.readline().decode().split()[-1]
    remote = f"{address}/here:1"
    box.estiva("tag", enginekit.IMAGE, remote)
    box.estiva("push", remote)
    noted("pull", remote)
    server.terminate()
    server.wait()
    server.stdout.close()


def build(box, program):
    """The cold starts of `estiva build`."""
    context = pathlib.Path(box.folder, "context")
    context.mkdir()
    (context / "Dockerfile").write_text(DOCKERFILE.format(image=enginekit.IMAGE).lstrip())
    (context / "a").write_text("a")
    for options in ([], ["-q"]):
        words = [*box.prefix, program, "build", *options, "-t", "built", context]
        subprocess.run(words, env=box.env, stdin=subprocess.DEVNULL, capture_output=True, check=True)


def oci(folder):
    """The cold starts of `estiva-oci`."""
    bundle = folder / "bundle"
    rootfs = bundle / "rootfs"
    rootfs.mkdir(parents=True)
    subprocess.run(["tar", "-xf", enginekit.busybox_tar(), "-C", rootfs], check=True)
    env = {**os.environ, "ESTIVA_ROOT": f"{folder}/root", "ESTIVA_RUN_ROOT": f"{folder}/run"}
    env["ESTIVA_CGROUP_PARENT"] = f"/{folder.name}"

    def noted(*words):
        quietly([folder / "estiva-oci", *words], env)

    def command(*words):
        config["process"]["args"] = words
        (bundle / "config.json").write_text(json.dumps(config))

    subprocess.run([CHECKOUT / "estiva-oci", "spec", "-b", bundle], check=True)
    config = json.loads((bundle / "config.json").read_text())
    config["process"]["terminal"] = False
    try:
        command("true")
        noted("run", "-b", bundle, "one")
        command("sleep", "1000")
        noted("create", "-b", bundle, "two")
        noted("start", "two")
        noted("exec", "-e", "A=b", "two", "true")
        noted("kill", "two", "KILL")
        noted("delete", "--force", "two")
    finally:
        for id in ("one", "two"):
            subprocess.run([CHECKOUT / "estiva-oci", "delete", "--force", id], env=env, capture_output=True)
        for pattern in (folder.name, f"*/{folder.name}"):  # cgroup v2; v1
            for left in pathlib.Path("/sys/fs/cgroup").glob(pattern):
                left.rmdir()


def text(recorded):
    """The source of boot/modules.py."""
    told = "The modules that cold starts load, as tools/record_modules.py found them: not to be edited."
    lines = [f'"""{told}"""', "", "MODULES = {"]
    for program in PROGRAMS:
        names = " ".join(f'"{name}",' for name in recorded[program])
        lines += [f'    "{program}": (', *textwrap.wrap(names, 110, **INDENT), "    ),"]
    return "\n".join([*lines, "}  # fmt: skip", ""])


def main():
    LIST.write_text(text(record()))


if __name__ == "__main__":
    main()
