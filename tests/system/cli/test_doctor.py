"""`doctor`: why a container does not answer, does not find a name, shows an empty folder; and of the machine."""

import os
import subprocess
import sys

import pytest

from enginekit import IMAGE, eventually, host

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


def problems(box, *words, status=1):
    lines = box.estiva("doctor", *words, status=status).stdout.splitlines()
    return [line.removeprefix("problem: ") for line in lines if line.startswith("problem: ")]


LISTEN = """
import socket, sys, time
one = socket.socket(); one.bind(("127.0.0.1", 90)); one.listen()
two = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); two.bind(("0.0.0.0", 80))
print("ready", flush=True); time.sleep(600)
"""


def test_ports(box):
    published = ("-p", "7080:80", "-p", "7090:90", "-p", "7070:70", "-p", "7053:53/udp")
    command = "nc -l -p 3000 & nc -l -p 70 & wait"
    box.estiva("run", "-d", "--name", "deaf", *published, IMAGE, "sh", "-c", command)
    pid = box.out("inspect", "-f", "{{.State.Pid}}", "deaf")
    words = ["nsenter", "-t", pid, "-n", sys.executable, "-c", LISTEN]
    listener = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert listener.stdout.readline() == "ready\n"
        eventually(lambda: not any("7070" in line for line in problems(box, "deaf")))
        udp, http, local = problems(box, "deaf")
        assert udp.startswith("port 7053 does not answer: nothing in it listens on 53/udp")
        assert (
            http == "port 7080 does not answer: in it 80/udp listens, and published is 80/tcp: -p 7080:80/udp"
        )
        assert local.startswith("port 7090 does not answer: in it 90/tcp listens on 127.0.0.1 only")
    finally:
        listener.kill()
        listener.wait()
        listener.stdout.close()
    eventually(lambda: len(problems(box, "deaf")) == 3)
    udp, http, local = problems(box, "deaf")
    assert http == "port 7080 does not answer: nothing in it listens on 80/tcp; it listens on 70, 3000"
    subprocess.run([*box.prefix, "nft", "delete", "table", "ip", "estiva"], check=True)
    assert "`estiva network reload` puts it back" in problems(box, "deaf")[-1]
    box.estiva("network", "reload")
    assert len(problems(box, "deaf")) == 3
    box.estiva("rm", "-f", "deaf")


def test_ports_where_there_is_no_network(box):
    box.estiva("run", "-d", "--name", "none", "--network", "none", "-p", "7081:80", IMAGE, "sleep", "1000")
    assert problems(box, "none") == [
        "port 7081 does not answer: it has no network (--network none), so nothing is published"
    ]
    box.estiva("rm", "-f", "none")


def test_names_of_the_world(box):
    box.estiva("run", "-d", "--name", "asks", "--dns", "10.9.8.7", IMAGE, "sleep", "1000")
    (line,) = problems(box, "asks", "--name", "example.org")
    assert line.startswith("example.org is no container's name: it is asked of 10.9.8.7")
    box.estiva("exec", "asks", "sh", "-c", "echo > /etc/resolv.conf")
    assert "no name server" in problems(box, "asks", "--name", "example.org")[0]
    box.estiva("rm", "-f", "asks")


def test_mounts(box):
    os.mkdir(f"{box.folder}/nothing")
    words = (
        "-v",
        f"{box.folder}/nothing:/home",
        "-v",
        f"{box.folder}/nothing:/etc/hidden",
        "-v",
        "new:/data",
    )
    box.estiva("run", "-d", "--name", "bare", "--network", "none", *words, IMAGE, "sleep", "1000")
    assert problems(box, "bare") == [
        f"/home is empty: {box.folder}/nothing is",
        f"/etc/hidden is empty: {box.folder}/nothing is",
    ]
    box.estiva("rm", "-f", "bare")
    box.estiva(
        "run",
        "-d",
        "--name",
        "bare",
        "--network",
        "none",
        "-v",
        f"{box.folder}/nothing:/usr",
        IMAGE,
        "sleep",
        "9999",
    )
    assert problems(box, "bare") == [
        f"/usr is empty: {box.folder}/nothing is, and hides what the image has there"
    ]
    box.estiva("rm", "-f", "bare")


def test_names(box):
    for network in ("one", "two"):
        box.estiva("network", "create", network)
    for name, network in (
        ("here", "one"),
        ("there", "two"),
        ("plain", "bridge"),
        ("also", "bridge"),
        ("beside", "one"),
    ):
        box.estiva("run", "-d", "--name", name, "--network", network, IMAGE, "sleep", "1000")
    box.estiva("create", "--name", "asleep", "--network", "one", IMAGE, "sleep", "1000")
    assert problems(box, "here", "--name", "there") == [
        "there is on two, here on one: `estiva network connect two here`"
    ]
    assert problems(box, "plain", "--name", "also")[0].startswith(
        "plain and also are both on the network bridge alone"
    )
    assert problems(box, "here", "--name", "nosuch") == [
        "no container is called nosuch, and none has it as an alias"
    ]
    assert problems(box, "here", "--name", "asleep")[0].startswith("asleep does not run")
    told = box.estiva("doctor", "here", "--name", "beside").stdout
    assert told.startswith("here has been running for ") and told.endswith("nothing wrong is found\n")
    box.estiva("rm", "-f", "here", "there", "plain", "also", "beside", "asleep")
    box.estiva("network", "rm", "one", "two")


def test_one_that_has_ended_and_one_that_is_not_there(box):
    box.estiva("run", "--name", "over", "--network", "none", IMAGE, "false", status=1)
    assert problems(box, "over")[1] == "ended by itself with status 1"
    assert "no such container: nosuch" in box.estiva("doctor", "nosuch", status=1).stderr
    box.estiva("rm", "over")


def test_the_machine(box):
    done = box.estiva("doctor", status=None)
    assert done.returncode == ("all that is needed is here" not in done.stdout)
    assert "ok:       namespace pid" in done.stdout.splitlines()
    assert "--name is for a container" in box.estiva("doctor", "--name", "x", status=1).stderr
