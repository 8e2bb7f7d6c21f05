"""What a machine lacks, and the command for it: by what the kernel and the packages say of themselves."""

import importlib
import types

import pytest

from estiva import programs
from estiva.engine.explain import machine
from estiva.errors import Unsupported

ENGINE = types.SimpleNamespace(store=types.SimpleNamespace(layers=types.SimpleNamespace(driver="erofs")))


def states(found):
    return {each.name: each.state for each in found}


def test_what_is_here_is_told_as_it_is():
    found = states(machine.examine(ENGINE))
    assert found["namespace pid"] == machine.OK and found["layers by erofs"] == machine.OK


def test_packages_that_are_missing_and_the_commands_for_them(monkeypatch):
    monkeypatch.setattr(
        programs, "find", lambda name: "" if name in ("nft", "criu", "ps") else f"/bin/{name}"
    )
    found = machine.examine(ENGINE)
    assert states(found)["nft"] == machine.MISSING and states(found)["criu"] == machine.OPTIONAL
    assert machine.install(found, needed=True) == "apt install nftables"
    assert machine.install(found, needed=False) == "apt install criu procps"
    monkeypatch.undo()
    monkeypatch.setattr(programs, "find", lambda name: f"/bin/{name}")
    assert machine.install(machine.examine(ENGINE), needed=False) == ""


def test_libseccomp_that_is_missing(monkeypatch):
    from estiva.linux import seccomp

    def library():
        raise Unsupported("libseccomp.so.2 is not installed")

    monkeypatch.setattr(seccomp, "library", library)
    assert "libseccomp2" in machine.install(machine.examine(ENGINE), needed=True)


def kernel(monkeypatch, files, there=()):
    monkeypatch.setattr(machine, "_read", lambda path: files.get(path, ""))
    monkeypatch.setattr(machine.os.path, "isdir", lambda path: path in there)


def test_modules_by_the_kernel_s_own_lists(monkeypatch):
    folder = f"/lib/modules/{machine.os.uname().release}"
    kernel(
        monkeypatch,
        {
            f"{folder}/modules.builtin": "kernel/fs/overlayfs/overlay.ko\nkernel/net/bridge/bridge.ko\n",
            f"{folder}/modules.dep": "kernel/net/netfilter/nf-tables.ko.zst: kernel/lib/libcrc32c.ko\n",
        },
        there=("/sys/module/erofs",),
    )
    found = states(machine._kernel())
    assert [found[f"kernel module {name}"] for name in ("overlay", "bridge", "nf_tables", "erofs")] == [
        machine.OK
    ] * 4
    assert (
        found["kernel module veth"] == machine.MISSING and found["kernel module ipvlan"] == machine.OPTIONAL
    )


def test_without_such_lists_nothing_is_claimed_of_modules(monkeypatch):
    kernel(monkeypatch, {"/proc/filesystems": "nodev\toverlay\n"})
    found = states(machine._kernel())
    assert found["kernel module overlay"] == machine.OK and "kernel module veth" not in found


def test_controllers_that_are_not_there(monkeypatch):
    layout = importlib.import_module("estiva.runtime.cgroup.layout")
    monkeypatch.setattr(layout, "_known", layout.Layout("v2", ("/nowhere",), {}))
    monkeypatch.setattr(machine, "_read", lambda path: "cpu memory pids io")
    found = states(machine._cgroups())
    assert found == {
        "cgroup v2 cpu": "ok", "cgroup v2 cpuset": "missing", "cgroup v2 memory": "ok", "cgroup v2 pids": "ok",
        "cgroup v2 io": "ok",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("release", "version"), [("6.18.44-fc", (6, 18)), ("5.4.0-1-amd64", (5, 4)), ("x", ())]
)
def test_versions(release, version):
    assert machine._version(release) == version
