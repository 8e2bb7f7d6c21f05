"""Ports that are published on IPv6 addresses: `-p [::]:8080:80`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess

import pytest

import enginekit
from netlab import at, server

ECHO = "while :; do nc -l -p 80 -e cat; done"


@pytest.fixture
def host():
    with enginekit.host() as made:
        yield made


def connect(host, address, port, kind=socket.SOCK_STREAM):
    with at(host.netns.pid):
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    made.settimeout(60)
    made.connect((address, port))
    return made


def echoed(host, address, port, data=b"hello"):
    """What comes back of `data`; b"" where nobody is."""
    try:
        with connect(host, address, port) as made:
            made.sendall(data)
            made.shutdown(socket.SHUT_WR)
            found = b""
            while part := made.recv(65536):
                found += part
            return found
    except OSError:
        return b""


def addresses(host):
    with at(host.netns.pid):
        subprocess.run(["ip", "addr", "add", "fd00:e571::1/64", "dev", "lo"], check=True)


def relays():
    """The pids of the processes that hold such ports, of all hosts."""
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    if file.read().startswith(b"estiva-ports"):
                        found.add((name, os.readlink(f"/proc/{name}/ns/net")))
            except OSError:
                continue
    return found


def ours(host):
    here = os.readlink(f"/proc/{host.netns.pid}/ns/net")
    return {name for name, netns in relays() if netns == here}


def test_every_address_or_one(host):
    addresses(host)
    host.estiva(
        "run", "-d", "--name", "web",
        "-p", "[::]:8080:80", "-p", "0.0.0.0:8080:80", "-p", "[::1]:8081:80",
        enginekit.IMAGE, "sh", "-c", ECHO,
    )  # fmt: skip
    enginekit.eventually(lambda: echoed(host, "::1", 8080) == b"hello")
    enginekit.eventually(lambda: echoed(host, "fd00:e571::1", 8080) == b"hello")
    enginekit.eventually(lambda: echoed(host, "127.0.0.1", 8080) == b"hello")
    enginekit.eventually(lambda: echoed(host, "::1", 8081) == b"hello")
    assert echoed(host, "fd00:e571::1", 8081) == b""
    assert echoed(host, "127.0.0.1", 8081) == b""
    # as docker 26 shows them
    assert host.out("port", "web").splitlines() == [
        "80/tcp -> [::]:8080", "80/tcp -> 0.0.0.0:8080", "80/tcp -> [::1]:8081",
    ]  # fmt: skip
    assert host.out("ps", "--format", "{{.Ports}}") == (
        "0.0.0.0:8080->80/tcp, :::8080->80/tcp, ::1:8081->80/tcp"
    )
    shown = json.loads(host.out("inspect", "web"))[0]
    bindings = [
        {"HostIp": "::", "HostPort": "8080"},
        {"HostIp": "0.0.0.0", "HostPort": "8080"},
        {"HostIp": "::1", "HostPort": "8081"},
    ]
    assert shown["NetworkSettings"]["Ports"] == {"80/tcp": bindings}
    assert shown["HostConfig"]["PortBindings"] == {"80/tcp": bindings}
    assert len(ours(host)) == 1
    done = host.estiva("run", "--rm", "-p", "[::1]:8080:80", enginekit.IMAGE, "true", status=125)
    assert "port 8080/tcp is already in use on ::1" in done.stderr
    for _ in range(5):  # the port is free as soon as it has been stopped
        host.estiva("restart", "-t", "0", "web")
    enginekit.eventually(lambda: echoed(host, "::1", 8080) == b"hello")
    host.estiva("rm", "-f", "web")
    enginekit.eventually(lambda: not ours(host))


def test_a_relay_that_was_killed_is_told_and_started_again(host):
    web = host.out(
        "run",
        "-d",
        "--name",
        "web",
        "-p",
        "[::1]:8080:80",
        "-p",
        "8081:80",
        enginekit.IMAGE,
        "sh",
        "-c",
        ECHO,
    )
    enginekit.eventually(lambda: echoed(host, "::1", 8080) == b"hello")
    said = f"the relay of container {web[:12]} for ports on IPv6 addresses has ended"
    assert host.out("network", "reload") == ""
    for mend, words in ((["network", "reload"], ": started again"), (["system", "check", "--repair"], "")):
        (relay,) = enginekit.eventually(lambda: ours(host))
        os.kill(int(relay), signal.SIGKILL)
        enginekit.eventually(lambda: not ours(host))
        checked = host.estiva("system", "check", status=1)
        assert f"{said}: `estiva network reload` starts it again" in checked.stdout + checked.stderr
        assert f"{said}{words}" in host.out(*mend)
        (again,) = enginekit.eventually(lambda: ours(host))
        assert again != relay
        enginekit.eventually(lambda: echoed(host, "::1", 8080) == b"hello")
        enginekit.eventually(lambda: echoed(host, "127.0.0.1", 8081) == b"hello")
        host.estiva("system", "check")
    os.kill(int(again), signal.SIGKILL)
    enginekit.eventually(lambda: not ours(host))

    def taken():  # a process that was killed has its sockets a moment longer than its command line
        with contextlib.suppress(OSError), at(host.netns.pid):
            return socket.create_server(("::1", 8080), family=socket.AF_INET6)

    with enginekit.eventually(taken):
        assert host.out("network", "reload") == f"{said}: `estiva network reload` starts it again"
        assert not ours(host)
    assert host.out("network", "reload") == f"{said}: started again"
    host.estiva("rm", "-f", "web")
    enginekit.eventually(lambda: not ours(host))


def test_a_relay_that_is_stopped_is_told_and_another_started(host):
    web = host.out("run", "-d", "--name", "web", "-p", "[::1]:8080:80", enginekit.IMAGE, "sh", "-c", ECHO)
    for mend in (["network", "reload"], ["system", "check", "--repair"]):
        (relay,) = enginekit.eventually(lambda: ours(host))
        os.kill(int(relay), signal.SIGSTOP)
        said = f"the relay of container {web[:12]} for ports on IPv6 addresses (process {relay}) is stopped"
        assert (
            f"{said}: `estiva network reload` starts it again"
            in host.estiva("system", "check", status=1).stdout
        )
        assert f"{said}: started again" in host.out(*mend)
        enginekit.eventually(lambda: echoed(host, "::1", 8080) == b"hello")
        (again,) = ours(host)
        assert again != relay and host.out("system", "check") == "all is well"


def test_a_change_of_networks_starts_a_relay_that_was_killed(host):
    host.estiva("network", "create", "net1")
    host.estiva("run", "-d", "--name", "web", "-p", "[::1]:8080:80", enginekit.IMAGE, "sh", "-c", ECHO)
    for verb, number in (("connect", signal.SIGKILL), ("disconnect", signal.SIGSTOP)):
        (relay,) = enginekit.eventually(lambda: ours(host))
        os.kill(int(relay), number)
        host.estiva("network", verb, "net1", "web")
        enginekit.eventually(lambda: echoed(host, "::1", 8080) == b"hello")
        assert relay not in ours(host)


def test_a_relay_that_is_stopped_goes_with_its_container(host):
    for words in (["rm", "-f", "web"], ["restart", "-t", "0", "web"], ["kill", "web"]):
        host.estiva("run", "-d", "--name", "web", "-p", "[::1]:8080:80", enginekit.IMAGE, "sh", "-c", ECHO)
        (relay,) = enginekit.eventually(lambda: ours(host))
        os.kill(int(relay), signal.SIGSTOP)
        host.estiva(*words)
        enginekit.eventually(lambda: relay not in ours(host))  # noqa: B023
        host.estiva("rm", "-f", "web", status=None)


def test_much_goes_both_ways_and_the_end_of_each_side_is_told(host):
    host.estiva("run", "-d", "-p", "[::1]:8080:80", enginekit.IMAGE, "sh", "-c", ECHO)
    enginekit.eventually(lambda: echoed(host, "::1", 8080) == b"hello")
    data = os.urandom(1 << 20) * 3

    def all_of_it():
        import threading

        try:
            made = connect(host, "::1", 8080)
        except OSError:
            return False
        with made:

            def send():
                made.sendall(data)
                made.shutdown(socket.SHUT_WR)

            sender = threading.Thread(target=send)
            sender.start()
            found = bytearray()
            try:
                while part := made.recv(65536):
                    found += part
            except ConnectionResetError:
                return False  # nc was between two connections
            finally:
                sender.join()
            return bytes(found) == data

    enginekit.eventually(all_of_it)


def test_who_does_not_read_is_nobodys_burden(host):
    server = "while :; do nc -l -p 80 -e sh -c 'read x; yes'; done"
    other = "while :; do nc -l -p 81 -e cat; done"
    host.estiva(
        "run", "-d", "-p", "[::1]:8080:80", "-p", "[::1]:8081:81",
        enginekit.IMAGE, "sh", "-c", f"({server})& {other}",
    )  # fmt: skip
    enginekit.eventually(lambda: echoed(host, "::1", 8081) == b"hello")
    with connect(host, "::1", 8080) as stalled:
        stalled.sendall(b"go\n")
        (relay,) = ours(host)
        for _ in range(3):
            enginekit.eventually(lambda: echoed(host, "::1", 8081) == b"hello")
        with open(f"/proc/{relay}/status") as file:
            resident = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
        assert resident < 100_000  # kB: what `yes` says is not collected
        # a client that is gone while much waits for it is let go of
    enginekit.eventually(lambda: len(os.listdir(f"/proc/{relay}/fd")) < 10)


def test_datagrams_and_free_ports(host):
    host.estiva("run", "-d", "--name", "web", "-p", "[::1]::80/udp", enginekit.IMAGE, "sleep", "1000")
    shown = host.out("port", "web", "80/udp")
    port = int(shown.removeprefix("[::1]:"))
    inside = server(int(host.out("inspect", "-f", "{{.State.Pid}}", "web")), 80, kind=socket.SOCK_DGRAM)
    clients = [connect(host, "::1", port, socket.SOCK_DGRAM) for _ in range(3)]
    with inside:
        inside.settimeout(60)
        for _ in range(2):
            for number, client in enumerate(clients):
                client.send(b"%d" % number)
            for _ in clients:
                data, sender = inside.recvfrom(100)
                inside.sendto(b"re:" + data, sender)
            for number, client in enumerate(clients):
                assert client.recv(100) == b"re:%d" % number
    for client in clients:
        client.close()


def test_the_relay_outlives_the_monitor_and_not_the_container(host):
    host.estiva("run", "-d", "--name", "web", "-p", "[::1]:8080:80", enginekit.IMAGE, "sh", "-c", ECHO)
    enginekit.eventually(lambda: echoed(host, "::1", 8080) == b"hello")
    state = json.loads(
        open(f"{host.folder}/run/containers/{host.out('ps', '-q', '--no-trunc')}/state.json").read()
    )
    os.kill(state["monitor"], 9)
    enginekit.eventually(lambda: not host.out("ps", "-q"))
    enginekit.eventually(lambda: not ours(host))
    host.estiva("start", "web")
    enginekit.eventually(lambda: echoed(host, "::1", 8080) == b"hello")


def test_another_container_that_gets_the_address_gets_nothing(host):
    host.estiva("network", "create", "--subnet", "10.71.0.0/24", "a")
    host.estiva("network", "create", "--subnet", "10.72.0.0/24", "b")
    echo = "while :; do nc -l -p 80 -e sh -c 'cat >/dev/null; echo {}'; done"
    host.estiva(
        "run", "-d", "--name", "mine", "--network", "name=a,ip=10.71.0.7", "-p", "[::]:8080:80",
        enginekit.IMAGE, "sh", "-c", echo.format("mine"),
    )  # fmt: skip
    enginekit.eventually(lambda: echoed(host, "::1", 8080) == b"mine\n")
    host.estiva("network", "disconnect", "a", "mine")
    host.estiva(
        "run", "-d", "--name", "other", "--network", "name=a,ip=10.71.0.7",
        enginekit.IMAGE, "sh", "-c", echo.format("other"),
    )  # fmt: skip
    enginekit.eventually(lambda: echoed(host, "10.71.0.7", 80) == b"other\n")
    assert echoed(host, "::1", 8080) == b""
    host.estiva("network", "connect", "b", "mine")
    enginekit.eventually(lambda: echoed(host, "::1", 8080) == b"mine\n")


def test_internal_networks_do_not_get_out_by_it(host):
    said = {}
    for name, words in (("closed", ["--internal"]), ("open", [])):
        host.estiva("network", "create", "--ipv6", *words, name)
        config = json.loads(host.out("network", "inspect", name))[0]["IPAM"]["Config"]
        said[name] = config[1]["Gateway"]
        host.estiva("run", "-d", "--name", name, "--network", name, enginekit.IMAGE, "sleep", "1000")
    host.estiva(
        "run", "-d", "--name", "web", "-p", "[::]:8080:80", "-p", "[::]:8081:81/udp",
        enginekit.IMAGE, "sh", "-c", ECHO,
    )  # fmt: skip
    enginekit.eventually(lambda: echoed(host, "::1", 8080) == b"hello")
    inside = server(int(host.out("inspect", "-f", "{{.State.Pid}}", "web")), 81, kind=socket.SOCK_DGRAM)

    def asked(name):
        with at(int(host.out("inspect", "-f", "{{.State.Pid}}", name))):
            kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM)
            stream, datagrams = (socket.socket(socket.AF_INET6, kind) for kind in kinds)
        with stream, datagrams:
            stream.settimeout(60)
            datagrams.sendto(name.encode(), (said[name], 8081))
            try:
                stream.connect((said[name], 8080))
                stream.sendall(b"hello")
                return stream.recv(100)
            except OSError:
                return b""

    with inside:
        inside.settimeout(60)
        assert asked("closed") == b""
        enginekit.eventually(lambda: asked("open") == b"hello")
        assert inside.recv(100) == b"open"  # the first that came


def test_an_address_that_is_not_there(host):
    done = host.estiva("run", "--rm", "-p", "[fd00::7]:1:1", enginekit.IMAGE, "true", status=125)
    assert "ports can't be published on fd00::7: this machine does not have that address" in done.stderr
