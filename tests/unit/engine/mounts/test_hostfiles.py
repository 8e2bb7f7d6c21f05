"""/etc/hosts, hostname and resolv.conf of a container."""

import os
import stat
import types

import pytest

from estiva.engine.mounts import hostfiles
from estiva.network import resolvconf

ENGINE = types.SimpleNamespace(paths=types.SimpleNamespace(container=lambda name: f"/state/{name}"))


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.setattr(resolvconf, "UPSTREAM", str(tmp_path / "nosuch"))
    return tmp_path


def made(*taken, hostname="web", mode="bridge", **host):
    return {
        "Config": {"Hostname": hostname},
        "HostConfig": {"NetworkMode": mode, **host},
        "Mounts": [{"Destination": place} for place in taken],
    }


def files(directory, record, address="10.88.0.5", lender=""):
    mounts = hostfiles.generated_files(ENGINE, record, str(directory), address, lender)
    return mounts, {name: (directory / name).read_text() for name in os.listdir(directory)}


def test_a_container_on_the_bridge(directory):
    mounts, found = files(directory, made(Dns=["10.0.0.1"], DnsSearch=["a.b"], DnsOptions=["ndots:2"]))
    assert [mount["destination"] for mount in mounts] == ["/etc/resolv.conf", "/etc/hostname", "/etc/hosts"]
    assert mounts[0] == {
        "destination": "/etc/resolv.conf", "type": "bind", "source": f"{directory}/resolv.conf",
        "options": ["bind", "rprivate"],
    }  # fmt: skip
    assert found["hostname"] == "web\n" and found["hosts"].endswith("10.88.0.5\tweb\n")
    assert found["resolv.conf"] == "nameserver 10.0.0.1\nsearch a.b\noptions ndots:2\n"


def test_the_host_s_network_has_the_host_s_resolver(directory):
    with open("/etc/resolv.conf", encoding="utf-8", errors="replace") as file:
        host = file.read()
    _, found = files(directory, made(mode="host"), "")
    with open("/etc/hosts", encoding="utf-8", errors="replace") as file:
        names = file.read()
    assert found["resolv.conf"] == host and found["hosts"] == names
    _, found = files(directory, made(mode="host", DnsSearch=["a.b"]), "")
    assert "search a.b\n" in found["resolv.conf"]


@pytest.mark.parametrize(("address", "gateway"), [("10.88.3.5", "10.88.0.1"), ("", "127.0.0.1")])
def test_the_host_has_a_name(directory, address, gateway):
    _, found = files(directory, made(ExtraHosts=["up:host-gateway", "db:10.0.0.9"]), address)
    assert f"{gateway}\tup\n10.0.0.9\tdb\n" in found["hosts"]


def test_a_lender_s_files_are_shared(directory):
    mounts, found = files(directory, made(), lender="abc")
    assert {mount["source"] for mount in mounts} == {
        "/state/abc/resolv.conf",
        "/state/abc/hostname",
        "/state/abc/hosts",
    }
    assert found == {}


def test_what_the_user_mounts_is_the_user_s(directory):
    mounts, _ = files(directory, made("/etc/hosts", "/data"))
    assert [mount["destination"] for mount in mounts] == ["/etc/resolv.conf", "/etc/hostname"]


def test_every_user_can_read_them_and_the_inode_stays(directory):
    umask = os.umask(0o777)
    try:
        hostfiles.write_shared(f"{directory}/x", b"long before")
        before = os.stat(directory / "x")
        hostfiles.write_shared(f"{directory}/x", b"now")
    finally:
        os.umask(umask)
    after = os.stat(directory / "x")
    assert stat.S_IMODE(after.st_mode) == 0o644 and after.st_ino == before.st_ino
    assert (directory / "x").read_bytes() == b"now"


def test_a_failed_write_names_the_file():
    with pytest.raises(OSError) as caught:
        hostfiles.write_shared("/dev/full", b"x")
    assert caught.value.filename == "/dev/full"
