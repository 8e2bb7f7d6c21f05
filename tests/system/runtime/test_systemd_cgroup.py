"""--systemd-cgroup: the D-Bus client against a bus of our own, and real scopes where systemd runs (cgroup v2)."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import threading

import pytest

import bundle
import ocikit
from estiva.errors import Conflict, EngineError, InvalidInput, Unavailable, Unsupported
from estiva.runtime.cgroup.systemd import dbus, scope

box = bundle.box
MACHINE = os.path.isdir("/run/systemd/system") and os.path.exists("/sys/fs/cgroup/cgroup.controllers")
real = pytest.mark.skipif(
    not MACHINE or os.geteuid() != 0 or shutil.which("busybox") is None, reason="needs systemd on cgroup v2"
)


# --- marshalling ------------------------------------------------------------------------------------------


def test_values_as_the_specification_lays_them_out():
    writer = dbus.Writer()
    writer.put("ysau", (1, "ab", [7, 8]))
    assert bytes(writer.data) == (
        b"\x01\0\0\0" + b"\x02\0\0\0ab\0" + b"\0" + b"\x08\0\0\0" + b"\x07\0\0\0\x08\0\0\0"
    )
    writer = dbus.Writer()
    writer.put("a(sv)", ([("A", ("t", 5))],))
    assert (
        bytes(writer.data)
        == b"\x18\0\0\0\0\0\0\0\x01\0\0\0A\0" + b"\x01t\0" + b"\0" * 7 + b"\x05" + b"\0" * 7
    )


@pytest.mark.parametrize(
    "signature, values",
    [
        ("ybnqiuxtd", (255, 1, -2, 3, -4, 5, -6, (1 << 64) - 1, 0.5)),
        ("sog", ("text", "/a/b", "a{sv}")),
        ("a(ss)ay", ([("a", "b"), ("c", "")], [1, 2])),
        ("a{sv}v", ([("k", ("as", ["x", "y"]))], ("(iu)", (-1, 1)))),
        ("at", ([],)),
    ],
)
def test_there_and_back(signature, values):
    writer = dbus.Writer()
    writer.put(signature, values)
    assert dbus.Reader(bytes(writer.data)).get(signature) == values


@pytest.mark.parametrize(
    "signature, data",
    [
        ("s", b"\xff\xff\xff\x7fab"),
        ("au", b"\x08\0\0\0\x01\0\0\0"),
        ("v", b"\x01v\0" * 40),
        ("s", b"\x02\0\0\0\xff\xff\0"),
        ("a", b""),
        ("(" * 40 + "y" + ")" * 40, b""),
        ("(y", b"\x01"),
        ("z", b""),
    ],
)
def test_what_is_no_value_is_an_error(signature, data):
    with pytest.raises(EngineError):
        dbus.Reader(data).get(signature)


def test_limits_as_properties():
    resources = {
        "memory": {"limit": 1000, "swap": 1500, "reservation": -1},
        "cpu": {"shares": 1024, "quota": 12345, "period": 100000, "cpus": "0-2,9"},
        "pids": {"limit": 0},
        "unified": {
            "memory.high": "max",
            "cpu.max": "50000 100000",
            "io.max": "8:0 rbps=1",
            "memory.min": "x",
        },
    }
    assert dict(scope.properties(resources)) == {
        "MemoryMax": ("t", 1000),
        "MemorySwapMax": ("t", 500),
        "MemoryLow": ("t", (1 << 64) - 1),
        "CPUWeight": ("t", 100),
        "CPUQuotaPeriodUSec": ("t", 100000),
        "CPUQuotaPerSecUSec": ("t", 500000),
        "AllowedCPUs": ("ay", b"\x07\x02"),
        "TasksMax": ("t", 1),
        "MemoryHigh": ("t", (1 << 64) - 1),
    }
    assert ("CPUQuotaPerSecUSec", ("t", 130000)) in scope.properties({"cpu": {"quota": 12345}})
    for words in ("", "a", "3-1", "0-99999999", "1-"):
        with pytest.raises(InvalidInput):
            scope.bits(words or "x")


def test_devices():
    rules = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"},
        {"allow": True, "type": "c", "major": 136, "access": "r"},
        {"allow": True, "type": "b", "access": "m"},
    ]
    allowed = [("/dev/char/1:3", "rw"), ("char-136", "r"), ("block-*", "m")]
    assert dict(scope.devices(rules))["DeviceAllow"] == ("a(ss)", allowed)
    assert scope.devices([{"allow": True, "access": "rwm"}]) == []
    assert scope.devices([*rules, {"allow": False, "type": "c", "major": 1, "access": "w"}]) == []


def test_names_of_units():
    assert scope.unit_of("a-b.slice:pre:id", "x", False) == ("a-b.slice", "pre-id.scope")
    assert scope.unit_of("::id", "x", False) == ("system.slice", "id.scope")
    assert scope.unit_of("", "x", True) == ("user.slice", "estiva-x.scope")
    for wrong in (
        "/a/b",
        "a:b",
        "a.scope:p:n",
        "a--b.slice:p:n",
        ".slice:p:n",
        "a.slice:p:../n",
        "a.slice:p:n n",
    ):
        with pytest.raises(InvalidInput):
            scope.unit_of(wrong, "x", False)
    with pytest.raises(Unsupported):
        scope.unit_of("a.slice::b.slice", "x", False)


# --- a systemd of our own -----------------------------------------------------------------------------------


class Systemd:
    """Answers on an AF_UNIX socket as systemd's private one does. `calls` is what it was asked."""

    def __init__(self, path, **behaviour):
        self.calls = []
        self.behaviour = behaviour
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection = self.listener.accept()[0]
                with connection, contextlib.suppress(Unavailable, OSError):
                    self.attend(connection)

    def attend(self, connection):
        greeting = b""
        while not greeting.endswith(b"BEGIN\r\n"):
            data = connection.recv(1)
            if not data:
                return
            greeting += data
        assert greeting == b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n"
        if self.behaviour.get("rejects"):
            connection.sendall(b"REJECTED EXTERNAL\r\n")
            return
        connection.sendall(b"DATA\r\nOK 1234\r\n")
        bus = object.__new__(dbus.Bus)
        bus.socket, bus.deadline = connection, float("inf")
        connection.settimeout(None)
        bus._read = lambda size: exactly(connection, size)
        while True:
            head = exactly(connection, 16)
            size, serial = dbus.Reader(head[4:]).get("uu")
            length = dbus.Reader(head[12:]).get("u")[0]
            reader = dbus.Reader(head + exactly(connection, length + -length % 8))
            reader.at = 12
            fields = {number: value for number, (_, value) in reader.get("a(yv)")[0]}
            body = dbus.Reader(exactly(connection, size)).get(fields.get(8, ""))
            self.calls.append((fields[3], body))
            self.answer(connection, serial, fields[3], body)

    def answer(self, connection, serial, member, body):
        refused = self.behaviour.get("refuses", {}).get(member)
        if isinstance(refused, list):
            refused = refused.pop(0) if refused else None
        if refused:
            self.send(connection, 3, [(4, ("s", refused)), (5, ("u", serial))], "s", "no such thing")
            return
        if self.behaviour.get("floods"):
            connection.sendall(
                dbus.message(2, 1, [(5, ("u", serial))], dbus.Writer())[:4] + b"\xff\xff\xff\x7f" * 3
            )
            return
        values = {
            "StartTransientUnit": ("o", "/job/1"),
            "StopUnit": ("o", "/job/2"),
            "GetUnit": ("o", "/unit"),
        }
        values["Get"] = ("v", ("s", "/made.slice/made.scope"))
        signature, value = values.get(member, ("", None))
        jobs = {"StartTransientUnit": "/job/1", "StopUnit": "/job/2"}
        if member in jobs:  # another's end comes before, as it may
            for job, result in (("/job/9", "failed"), (jobs[member], self.behaviour.get("result", "done"))):
                fields = [(1, ("o", "/org/freedesktop/systemd1")), (3, ("s", "JobRemoved"))]
                self.send(connection, 4, fields, "uoss", 1, job, "made.scope", result)
        self.send(connection, 2, [(5, ("u", serial))], signature, *([value] if signature else []))

    def send(self, connection, kind, fields, signature, *values):
        body = dbus.Writer()
        body.put(signature, values)
        extra = [(8, ("g", signature))] if signature else []
        connection.sendall(dbus.message(kind, 1, [*fields, *extra], body))


def exactly(connection, size):
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise Unavailable("closed")
        data += more
    return data


@contextlib.contextmanager
def served(tmp_path, **behaviour):
    path = str(tmp_path / "socket")
    fake = Systemd(path, **behaviour)
    try:
        fake.bus = dbus.Bus(path, direct=True)
        yield fake
        fake.bus.close()
    finally:
        fake.listener.close()


def test_a_scope_is_started(tmp_path):
    with served(tmp_path) as fake:
        path = scope._start(fake.bus, "made.scope", "made.slice", "web", 42, {"pids": {"limit": 5}})
        assert path == "/made.slice/made.scope"
        member, (unit, mode, properties, auxiliary) = fake.calls[0]
        assert (member, unit, mode, auxiliary) == ("StartTransientUnit", "made.scope", "replace", [])
        given = dict(properties)
        assert (
            given["PIDs"] == ("au", [42]) and given["Delegate"] == ("b", 1) and given["TasksMax"] == ("t", 5)
        )
        assert given["Slice"] == ("s", "made.slice") and given["DefaultDependencies"] == ("b", 0)


def test_what_is_left_of_a_failed_one_is_taken_away(tmp_path):
    exists = "org.freedesktop.systemd1.UnitExists"
    with served(tmp_path, refuses={"StartTransientUnit": [exists]}) as fake:
        assert scope._start(fake.bus, "made.scope", "made.slice", "web", 42, {})
        assert [call[0] for call in fake.calls][:3] == [
            "StartTransientUnit",
            "ResetFailedUnit",
            "StartTransientUnit",
        ]
    os.unlink(tmp_path / "socket")
    with (
        served(tmp_path, refuses={"StartTransientUnit": exists}) as fake,
        pytest.raises(Conflict, match="already"),
    ):
        scope._start(fake.bus, "made.scope", "made.slice", "web", 42, {})


def test_errors_say_what_systemd_said(tmp_path):
    words = r"systemd can't start made\.scope: no such thing"
    refuses = {"StartTransientUnit": "org.x.Denied"}
    with served(tmp_path, refuses=refuses) as fake, pytest.raises(EngineError, match=words):
        scope._start(fake.bus, "made.scope", "made.slice", "web", 42, {})
    os.unlink(tmp_path / "socket")
    with served(tmp_path, result="timeout") as fake, pytest.raises(EngineError, match="ended as timeout"):
        scope._start(fake.bus, "made.scope", "made.slice", "web", 42, {})


def test_hostile_answers(tmp_path):
    with pytest.raises(Unavailable, match="REJECTED"), served(tmp_path, rejects=True):
        pass
    os.unlink(tmp_path / "socket")
    with served(tmp_path, floods=True) as fake, pytest.raises(EngineError, match="too long"):
        fake.bus.call("a", "/b", "c.d", "E")
    with pytest.raises(Unavailable, match="no such file"):
        dbus.Bus(str(tmp_path / "nothing"), direct=True)


# --- the real one -----------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("busybox") is None, reason="needs root and busybox")
@pytest.mark.skipif(os.path.isdir("/run/systemd/system"), reason="systemd runs here")
def test_without_systemd_it_is_an_error(box):
    with ocikit.runtime(box) as runtime:
        folder = runtime.bundle("true", change=lambda c: c["linux"].update(cgroupsPath="a.slice:p:n"))
        err = runtime.fails("--systemd-cgroup", "run", "-b", folder, "web")
        assert "systemd is not running here" in err and runtime.run("state", "web")[0] == 1


def shown(unit, *names):
    words = ["systemctl", "show", unit, *[f"-p{name}" for name in names]]
    lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    return dict(line.split("=", 1) for line in lines)


@real
def test_a_container_is_a_scope(box):
    name = f"t{os.getpid()}"

    def change(config):
        config["linux"]["cgroupsPath"] = f"estivatest.slice:oci:{name}"
        config["linux"]["resources"] = {"memory": {"limit": 100 << 20}, "pids": {"limit": 33}}

    unit = f"oci-{name}.scope"
    with ocikit.runtime(box) as runtime:
        folder = runtime.bundle("sleep", "1000", change=change)
        runtime("--systemd-cgroup", "run", "-d", "-b", folder, "web")
        assert shown(unit, "ActiveState", "Delegate", "MemoryMax", "TasksMax", "Slice") == {
            "ActiveState": "active",
            "Delegate": "yes",
            "MemoryMax": str(100 << 20),
            "TasksMax": "33",
            "Slice": "estivatest.slice",
        }
        pid = runtime.state("web")["pid"]
        path = pathlib.Path(f"/proc/{pid}/cgroup").read_text().strip()
        assert path == f"0::/estivatest.slice/{unit}"
        assert "ok" in runtime("exec", "web", "sh", "-c", "echo x >/dev/null && echo ok")
        runtime("update", "--memory", str(200 << 20), "web")
        subprocess.run(["systemctl", "daemon-reload"], check=True)
        assert shown(unit, "MemoryMax") == {"MemoryMax": str(200 << 20)}
        place = pathlib.Path("/sys/fs/cgroup", path.removeprefix("0::/"))
        assert (place / "memory.max").read_text().strip() == str(200 << 20)
        assert "already" in runtime.fails("--systemd-cgroup", "run", "-d", "-b", folder, "other")
        assert runtime.state("web")["status"] == "running"
        runtime("delete", "-f", "web")
        assert not place.exists() and shown(unit, "ActiveState") == {"ActiveState": "inactive"}
