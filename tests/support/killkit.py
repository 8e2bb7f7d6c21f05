"""Killing what runs, at any moment, and finding what it left: for the tests of the promise that nothing is left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time

import enginekit
from enginekit import eventually


def children(pid):
    """The pids of a process's children."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as file:
                if int(file.read().rpartition(")")[2].split()[1]) == pid:
                    found.append(int(name))
    return found


def monitors(box):
    """The pids of the monitors of a host's containers, as far as their run state is written."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(f"{box.folder}/run/containers"):
            with (
                contextlib.suppress(OSError, ValueError),
                open(f"{box.folder}/run/containers/{name}/state.json") as file,
            ):
                found.append(json.load(file)["monitor"])
    return found


def kill(*pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def moved_away(box, container):
    """Take all processes of a container out of its cgroups, as a manager of sessions may. The pid of its init."""
    with open(f"{box.folder}/run/containers/{container}/state.json") as file:
        live = json.load(file)
    tops = {path.removesuffix(live["cgroup"]) for path in box.cgroups() if path.endswith(live["cgroup"])}
    assert tops
    for top in tops:
        with open(f"{top}{live['cgroup']}/cgroup.procs") as file:
            pids = file.read().split()
        for pid in pids:
            with open(f"{top}/cgroup.procs", "w") as file:
                file.write(pid)
    return live["pid"]


class Shot:
    """The command line in the background, killed after some seconds, by a thread.

    victims: "command" alone, its "monitor" (any child it has then), or "both".
    """

    def __init__(self, box, words, seconds, victims="command", **options):
        self.seconds = seconds
        self.victims = victims
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, **options}
        self.child = subprocess.Popen(
            [*box.prefix, enginekit.ESTIVA, *map(str, words)], env=box.env, cwd=box.folder, **options
        )
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        time.sleep(self.seconds)
        below = [] if self.victims == "command" else children(self.child.pid)
        if self.victims != "monitor":
            self.child.kill()
        kill(*below)

    def end(self):
        """Its output, once it has ended."""
        self.thread.join()
        out = self.child.communicate(timeout=300)[0]
        assert "Traceback" not in (out or "") and "internal error" not in (out or ""), out
        return out


def at_work(directory):
    """The pids of processes whose command lines name something below a directory."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
            if f"{directory}/".encode() in file.read():
                found.append(int(pid))
    return found


def traces(box):
    """Whatever of containers, builds and downloads is there: folders, cgroups, veths, mounts in any namespace."""
    found = []
    for name in (
        "run/containers",
        "run/names",
        "run/build",
        "root/containers",
        "root/ingest",
        "root/cache/build/work",
    ):
        with contextlib.suppress(FileNotFoundError):
            found += [f"{name}/{entry}" for entry in os.listdir(f"{box.folder}/{name}")]
    found += box.cgroups() + box.veths()
    found += [f"process {pid} at work in the store" for pid in at_work(f"{box.folder}/root")]
    for line in open("/proc/self/mountinfo"):
        if f"{box.folder}/" in line and f"{box.folder}/run/layers/" not in line:
            found.append(f"mounted on the host: {line}")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/mountinfo", errors="surrogateescape") as file:
            if any(f"upperdir={box.folder}/" in line for line in file):
                found.append(f"process {pid} in a container")
    return found


def assert_well(box):
    """The check finds nothing wrong after it swept, and has nothing more to sweep the second time."""
    first = box.estiva("system", "check", status=None)
    assert first.returncode == 0, first.stdout + first.stderr
    second = box.estiva("system", "check", status=None)
    assert second.returncode == 0 and "swept" not in second.stdout, (
        first.stdout,
        second.stdout + second.stderr,
    )
    return first.stdout


def assert_nothing_left(box):
    """Nothing at all, a moment later (the kernel takes namespaces and veths down in its own time)."""
    try:
        eventually(lambda: not traces(box))
    except AssertionError:
        raise AssertionError(traces(box)) from None
    assert box.db("SELECT count(*) FROM leases") == [(0,)]
