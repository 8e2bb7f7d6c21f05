"""The eight steps of the lesson: each says what is there before, does something, and says what is after."""

from __future__ import annotations

import glob
import os
import socket
import time

from estiva.cli.explain.stage import IMAGE, Stage
from estiva.errors import EngineError
from estiva.speech import say


def a_process(stage: Stage) -> None:
    """a container is a process"""
    stage.before(say("no container runs."))
    stage.estiva("ps")
    stage.estiva("run", "-d", "--name", "one", "--network", "none", IMAGE, "sleep", "1000", lines=1)
    pid = stage.estiva("inspect", "-f", "{{.State.Pid}}", "one")
    stage.say(
        say("That is a process of this machine like any other. Its parent is its monitor, and no daemon.")
    )
    stage.host("ps", "-o", "pid,ppid,user,args", "-p", pid)
    stage.estiva("exec", "one", "ps", "-o", "pid,user,args")
    stage.say(say("Inside it is number 1, and sees itself alone. When it ends, the container ends."))
    stage.estiva("rm", "-f", "one")
    stage.host("ps", "-o", "pid,args", "-p", pid, status=1)
    stage.after(say("the process has gone, and with it all that made it a container."))


def pids(stage: Stage) -> None:
    """pids, and the other namespaces"""
    stage.before(say("these are the namespaces of this shell: what a process may see of the machine."))
    stage.host("ls", "-l", "--time-style=+", "/proc/self/ns/pid", "/proc/self/ns/mnt", "/proc/self/ns/uts")
    stage.say(say("A container gets new ones. Its processes are numbered anew from 1:"))
    stage.estiva(
        "run",
        "--rm",
        "--network",
        "none",
        IMAGE,
        "sh",
        "-c",
        "echo I am $$; ls -l /proc/self/ns/pid; ls -d /proc/[0-9]*",
    )
    stage.say(say("With --pid host it keeps this machine's, and sees all its processes:"))
    stage.estiva(
        "run", "--rm", "--network", "none", "--pid", "host", IMAGE, "sh", "-c", "ls -d /proc/[0-9]* | wc -l"
    )
    stage.estiva("run", "--rm", "--network", "none", "--hostname", "another", IMAGE, "hostname")
    stage.host("hostname")
    stage.after(say("a hostname is a namespace too: this machine has kept its own."))


def mounts(stage: Stage) -> None:
    """mounts and the overlay: where files go"""
    stage.before(say("the image has no file /note, and it has /bin/who."))
    stage.estiva("run", "--rm", "--network", "none", IMAGE, "ls", "/note", "/bin/who", status=1)
    stage.estiva(
        "run",
        "--name",
        "three",
        "--network",
        "none",
        IMAGE,
        "sh",
        "-c",
        "echo hello > /note; rm /bin/who; head -n 1 /proc/mounts | cut -c 1-60",
    )
    stage.say(
        say("Its root is an overlay: the image's read-only layers, and above them a folder for its own.")
    )
    stage.estiva("diff", "three")
    upper = stage.estiva("inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", "three")
    stage.say(
        say("That folder is here on the disk. A file that was removed is a device node 0,0 that hides it:")
    )
    stage.host("find", upper, "-printf", "%M %u %5s /%P\\n")
    stage.estiva("rm", "three")
    stage.estiva("run", "--rm", "--network", "none", IMAGE, "ls", "/note", "/bin/who", status=1)
    stage.after(say("the image is as it was: what a container writes goes with it. Volumes (-v) stay."))


def user(stage: Stage) -> None:
    """users: root inside, nobody outside"""
    stage.before(say("a container's root is this machine's root, with 14 of its 41 capabilities."))
    show = "id -u; cat /proc/self/uid_map; grep CapEff /proc/self/status"
    stage.estiva("run", "--rm", "--network", "none", IMAGE, "sh", "-c", show)
    stage.say(
        say("As another user it has none. In a user namespace it is root inside, and a nobody outside:")
    )
    stage.estiva("run", "--rm", "--network", "none", "--user", "1000", IMAGE, "sh", "-c", show)
    stage.estiva(
        "run",
        "-d",
        "--name",
        "four",
        "--network",
        "none",
        "--userns",
        "auto",
        IMAGE,
        "sleep",
        "1000",
        lines=1,
    )
    stage.estiva("exec", "four", "sh", "-c", show)
    pid = stage.estiva("inspect", "-f", "{{.State.Pid}}", "four")
    stage.host("ps", "-o", "pid,uid,args", "-p", pid)
    stage.estiva("rm", "-f", "four")
    stage.after(say("whoever breaks out of that one is a user that owns nothing here."))


def network(stage: Stage) -> None:
    """a network of its own"""
    stage.before(say("this (the lesson's own) network has a loopback and no more."))
    stage.host("ip", "-brief", "address")
    serve = "while true; do echo hello from the container | nc -l -p 80; done"
    stage.estiva("run", "-d", "--name", "five", "-p", "8080:80", IMAGE, "sh", "-c", serve, lines=1)
    stage.say(
        say("A cable leads from the container's eth0 to a bridge here, and a rule from port 8080 to it:")
    )
    stage.host("ip", "-brief", "address")
    stage.estiva("exec", "five", "ip", "address", "show", "eth0")
    stage.estiva("port", "five")
    stage.say(say("Connecting to 127.0.0.1:8080: {answer}", answer=_connect(8080)))
    stage.estiva("rm", "-f", "five")
    stage.host("ip", "-brief", "address")
    stage.after(say("the cable went with the container's network namespace; the bridge waits for the next."))


def _connect(port: int) -> str:
    """What is said there; asked again for a while, until it listens."""
    for _ in range(100):
        try:
            with socket.create_connection(("127.0.0.1", port), 2) as connection:
                if answer := connection.recv(100):
                    return answer.decode("utf-8", "replace").strip()
        except OSError:
            pass
        time.sleep(0.1)
    raise EngineError(f"the lesson stops: nobody answers on port {port}")


def cgroups(stage: Stage) -> None:
    """limits: cgroups, and a process that is killed at its own"""
    stage.before(
        say("this text doubles until there is no more memory. Unlimited, that would be this machine's.")
    )
    eat = "x=much; while true; do x=$x$x; done"
    stage.estiva("run", "--name", "six", "--network", "none", "-m", "16m", IMAGE, "sh", "-c", eat, status=137)
    stage.say(say("The kernel killed it (137: 128 and signal 9), as its cgroup had a limit of 16 MiB:"))
    stage.estiva("why", "six")
    stage.estiva(
        "run",
        "--rm",
        "--network",
        "none",
        "--pids-limit",
        "5",
        IMAGE,
        "sh",
        "-c",
        "for i in 1 2 3 4 5 6; do sleep 1 & done; echo never",
        status=None,
    )
    stage.estiva("rm", "six")
    stage.after(
        say("neither memory nor processes beyond the limits were to be had, and this machine did not notice.")
    )


def layers(stage: Stage) -> None:
    """an image is layers, and a broken one is fetched again"""
    stage.before(say("an image is a stack of layers, each named by the digest of what is in it."))
    stage.estiva("image", "layers", IMAGE)
    stage.say(say("A registry keeps images. Here is one on loopback; the image goes there:"))
    stage.background("registry", "serve", "--listen", "127.0.0.1:5000", "--root", f"{stage.folder}/registry")
    stage.estiva("tag", IMAGE, "localhost:5000/lesson:1")
    stage.estiva("push", "localhost:5000/lesson:1")
    broken = _break(stage)
    stage.say(say("Now a disk loses something of one layer here ({paths} are cut in half):", paths=broken))
    stage.estiva("system", "check", "--deep", status=1)
    stage.say(say("The digest does not fit any more. That layer alone is fetched again from the registry:"))
    stage.estiva("system", "check", "--deep", "--repair", status=None)
    stage.estiva("system", "check", "--deep")
    stage.estiva("run", "--rm", "--network", "none", IMAGE, "echo", "it runs")
    stage.after(say("content that is named by its digest can't change unseen, and can come from anywhere."))


def _break(stage: Stage) -> str:
    """Cut the largest layer in half, also its compressed form: it would be made again from that."""
    blobs = sorted(glob.glob(f"{stage.folder}/root/blobs/sha256/*"), key=os.path.getsize)
    for path in blobs[-2:]:
        os.truncate(path, os.path.getsize(path) // 2)
    return say(" and ").join(path.removeprefix(stage.folder + "/root/") for path in blobs[-2:])


def dockerfile(stage: Stage) -> None:
    """a Dockerfile, and the cache"""
    folder = f"{stage.folder}/hello"
    os.makedirs(folder, exist_ok=True)
    _write(
        f"{folder}/Dockerfile",
        f"FROM {IMAGE}\nRUN echo made once > /made\nCOPY words /words\nCMD cat /made /words\n",
    )
    _write(f"{folder}/words", "first words\n")
    stage.before(say("a folder with a Dockerfile and one file."))
    stage.host("cat", f"{folder}/Dockerfile", f"{folder}/words")
    stage.estiva("build", "--progress", "plain", "-t", "hello:1", folder)
    stage.estiva("run", "--rm", "--network", "none", "hello:1")
    stage.say(
        say("Built again, all of it comes from the cache: nothing has changed that the steps depend on.")
    )
    stage.estiva("build", "--progress", "plain", "-t", "hello:1", folder)
    _write(f"{folder}/words", "other words\n")
    stage.say(say("With another content of the file only the steps from COPY on are done again:"))
    stage.estiva("build", "--progress", "plain", "-t", "hello:2", folder)
    stage.estiva("run", "--rm", "--network", "none", "hello:2")
    stage.after(say("each instruction is a layer, and its key is what it was made from."))


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


STEPS = (a_process, pids, mounts, user, network, cgroups, layers, dockerfile)
