"""--pid, --ipc, --uts, --network, --cgroupns: the host's, another container's, one by its path."""

import os
import subprocess

import pytest

from enginekit import IMAGE, eventually, host


@pytest.fixture(scope="module")
def box():
    with host() as made:
        words = ("-d", "--name", "lender", "--network", "none", "--ipc", "shareable", "--hostname", "quay")
        made.estiva("run", *words, IMAGE, "sleep", "6000")
        yield made
        made.estiva("rm", "-f", "lender")


def run(box, *words, **options):
    return box.out("run", "--rm", *(() if "--network" in words else ("--network", "none")), *words, **options)


def inspect(box, container, what):
    return box.out("inspect", "--format", "{{" + what + "}}", container)


OPTIONS = [
    ("pid", "pid", "PidMode"), ("ipc", "ipc", "IpcMode"), ("uts", "uts", "UTSMode"), ("network", "net", "NetworkMode"),
    ("cgroupns", "cgroup", "CgroupnsMode"),
]  # fmt: skip


@pytest.mark.parametrize(("option", "name", "key"), OPTIONS)
def test_of_another_container_by_path_and_the_hosts(box, option, name, key):
    pid = inspect(box, "lender", ".State.Pid")
    theirs = os.readlink(f"/proc/{pid}/ns/{name}")
    show = (IMAGE, "readlink", f"/proc/self/ns/{name}")
    assert run(box, f"--{option}", "container:lender", *show) == theirs
    assert run(box, f"--{option}", f"ns:/proc/{pid}/ns/{name}", *show) == theirs
    at_home = subprocess.run(
        [*box.prefix, "readlink", f"/proc/self/ns/{name}"], capture_output=True, text=True
    )
    assert run(box, f"--{option}", "host", *show) == at_home.stdout.strip()
    if option != "network":
        assert run(box, f"--{option}", "private", *show) not in (theirs, at_home.stdout.strip())
    made = box.out("create", f"--{option}", "container:lender", IMAGE, "true")
    assert inspect(box, made, f".HostConfig.{key}") == f"container:{inspect(box, 'lender', '.Id')}"
    box.estiva("rm", made)


@pytest.mark.parametrize("option", [option for option, _, _ in OPTIONS] + ["userns"])
def test_who_does_not_run_or_is_not_there_lends_nothing(box, option):
    words = ("--rm", *(("--network", "none") if option != "network" else ()), f"--{option}")
    done = box.estiva("run", *words, "container:nosuch", IMAGE, "true", status=125)
    assert "no such container: nosuch" in done.stderr
    box.estiva("create", "--name", "idle", "--ipc", "shareable", IMAGE, "true")
    done = box.estiva("run", *words, "container:idle", IMAGE, "true", status=125)
    assert "container idle is not running" in done.stderr
    waiting = box.out("create", f"--{option}", "container:idle", IMAGE, "true")
    assert "is not running" in box.estiva("start", waiting, status=1).stderr
    box.estiva("rm", "idle", waiting)
    for wrong in ("container:", "ns:", "ns:x", "other"):
        status = 1 if (option, wrong) == ("network", "other") else 125  # a network might be called so
        done = box.estiva("create", f"--{option}", wrong, IMAGE, "true", status=status)
        assert option in done.stderr and done.stderr.count("\n") <= 2, done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--uts", "host", "--hostname", "x"], "--uts host"),
        (["--uts", "container:lender", "--domainname", "x"], "--uts container:"),
        (["--network", "container:lender", "--hostname", "x"], "--hostname can't be used with"),
        (["--network", "container:lender", "-p", "80"], "--publish can't be used with"),
        (["--network", "container:lender", "--dns", "1.1.1.1"], "--dns can't be used with"),
        (["--network", "container:lender", "--add-host", "a:1.1.1.1"], "--add-host can't be used with"),
        (["--network", "container:lender", "--expose", "80"], "--expose can't be used with"),
        (["--ipc", "container:private"], "--ipc shareable"),
        (["--uts", "host", "--sysctl", "kernel.domainname=x"], "sysctl"),
    ],
)
def test_conflicts(box, words, message):
    if "container:private" in words:
        box.estiva("run", "-d", "--name", "private", "--network", "none", IMAGE, "sleep", "600")
    done = box.estiva("run", "--rm", *words, IMAGE, "true", status=None)
    assert done.returncode == 125 and message in done.stderr and done.stderr.count("\n") <= 2, done
    box.estiva("rm", "-f", "private", status=None)


def test_host_names(box):
    assert run(box, "--uts", "host", IMAGE, "hostname") == os.uname().nodename
    assert (
        run(box, "--uts", "container:lender", IMAGE, "sh", "-c", "hostname; echo $HOSTNAME") == "quay\nquay"
    )
    assert (
        run(box, "--network", "container:lender", IMAGE, "sh", "-c", "hostname; cat /etc/hostname")
        == "quay\nquay"
    )


def test_the_hosts_network_goes_with_the_hosts_name(box):
    """The name is in a namespace of the container's own, and can be another."""
    show = (IMAGE, "sh", "-c", "hostname; cat /etc/hostname; hostname other; hostname")
    ours = os.uname().nodename
    words = ("--network", "host", "--cap-add", "SYS_ADMIN")
    assert run(box, *words, *show) == f"{ours}\n{ours}\nother"
    assert run(box, *words, "--hostname", "quay", *show) == "quay\nquay\nother"
    assert os.uname().nodename == ours


def test_shared_memory(box):
    other = "container:lender"
    run(box, "--ipc", other, IMAGE, "sh", "-c", "echo hello > /dev/shm/x")
    assert box.out("exec", "lender", "cat", "/dev/shm/x") == "hello"
    assert (
        run(box, "--ipc", other, IMAGE, "sh", "-c", "cat /dev/shm/x; ls -d /dev/mqueue")
        == "hello\n/dev/mqueue"
    )
    lender = box.out(
        "run", "-d", "--network", "none", "--userns", "auto", "--ipc", "shareable", IMAGE, "sleep", "600"
    )
    other = f"container:{lender}"
    run(box, "--ipc", other, "--userns", other, IMAGE, "sh", "-c", "echo mapped > /dev/shm/x")
    assert box.out("exec", lender, "cat", "/dev/shm/x") == "mapped"
    box.estiva("rm", "-f", lender)
    assert run(box, IMAGE, "ls", "/dev/shm") == ""
    assert (
        "No such file" in box.estiva("run", "--rm", "--ipc", "none", IMAGE, "ls", "/dev/shm", status=1).stderr
    )
    assert run(box, "--ipc", "host", "--tmpfs", "/dev/shm", IMAGE, "ls", "/dev/shm") == ""


def test_shared_memory_of_the_host(box):
    name = f"estiva-test-{os.getpid()}"
    with open(f"/dev/shm/{name}", "w") as file:
        file.write("host")
    try:
        assert run(box, "--ipc", "host", IMAGE, "cat", f"/dev/shm/{name}") == "host"
    finally:
        os.unlink(f"/dev/shm/{name}")


def alive(marker):
    return subprocess.run(["pgrep", "-f", f"^sleep {marker}$"], capture_output=True).returncode == 0


@pytest.mark.parametrize("mode", ["host", "container:lender"])
def test_children_end_with_the_main_process_in_a_shared_pid_namespace(box, mode):
    marker = f"47{os.getpid()}"
    script = f"(exec sleep {marker} &) ; (setsid sleep {marker} &) ; kill -0 1 && exit 4"
    box.estiva(
        "run", "--rm", "--network", "none", "--pid", mode, "--init", IMAGE, "sh", "-c", script, status=4
    )
    assert not alive(marker)
    container = box.out(
        "run",
        "-d",
        "--network",
        "none",
        "--pid",
        mode,
        IMAGE,
        "sh",
        "-c",
        f"(exec sleep {marker}) & exec sleep {marker}",
    )
    eventually(lambda: alive(marker))
    box.estiva("kill", container)
    box.estiva("wait", container)
    assert not alive(marker)
    box.estiva("rm", container)


def test_they_see_each_other(box):
    assert "sleep 6000" in run(box, "--pid", "container:lender", IMAGE, "ps")
    assert box.out("exec", "lender", "sh", "-c", "echo still here") == "still here"


def test_the_end_of_the_lender_ends_what_runs_in_its_pid_namespace(box):
    lender = box.out("run", "-d", "--network", "none", IMAGE, "sleep", "600")
    guest = box.out("run", "-d", "--network", "none", "--pid", f"container:{lender}", IMAGE, "sleep", "600")
    box.estiva("rm", "-f", lender)
    assert box.out("wait", guest) == "137"
    assert "no such container" in box.estiva("start", guest, status=1).stderr
    box.estiva("rm", guest)


def test_cgroup_namespaces(box):
    assert run(box, IMAGE, "sh", "-c", "sed s/.*:// /proc/self/cgroup | sort -u") == "/"
    assert box.cgroup in run(box, "--cgroupns", "host", IMAGE, "cat", "/proc/self/cgroup")


def test_the_python_api(box):
    code = f"""
import estiva
print(estiva.run({IMAGE!r}, ["sh", "-c", "hostname; ps"], pid="container:lender", uts="host", network="none").stdout.decode())
"""
    told = box.python(code)
    assert told.startswith(os.uname().nodename) and "sleep 6000" in told
