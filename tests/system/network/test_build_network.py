"""`build --network NAME`: the steps of a build on a network of one's own."""

import os
import pathlib

import pytest

import enginekit
from enginekit import IMAGE


@pytest.fixture
def host():
    with enginekit.host() as made:
        pathlib.Path(made.folder, "ctx").mkdir()
        yield made


def build(host, text, *words, status=0):
    pathlib.Path(host.folder, "ctx/Dockerfile").write_text(f"FROM {IMAGE}\n{text}")
    return host.estiva("build", "--no-cache", *words, f"{host.folder}/ctx", status=status).stderr


def test_a_step_finds_the_containers_of_the_network_by_name(host):
    host.estiva("network", "create", "--internal", "closed")
    server = "while :; do echo here | nc -l -p 80; done"
    host.estiva("run", "-d", "--name", "srv", "--network", "closed", IMAGE, "sh", "-c", server)
    steps = (
        "RUN grep -q 'nameserver 127.0.0.11' /etc/resolv.conf\n"
        "RUN test $(nc -w 9 srv 80 </dev/null) = here\n"
        # no way out for a Dockerfile that asks for one (K23)
        "RUN --network=default test $(nc -w 9 srv 80 </dev/null) = here && ! ip route | grep default\n"
        "RUN --network=none ! ip route | grep .\n"
    )
    build(host, steps, "--network", "closed")
    container = host.out("ps", "-q", "--no-trunc")
    assert host.db("SELECT DISTINCT container FROM leases") == [(container,)]
    assert "RUN --network=host is not allowed" in build(
        host, "RUN --network=host true\n", "--network", "closed", status=1
    )
    host.estiva("rm", "-f", "srv")
    host.estiva("network", "rm", "closed")


def test_a_network_that_is_not_there_is_refused_before_the_first_step(host):
    for name, said in (
        ("nosuch", "network nosuch not found\nhint: `estiva network ls` lists them all"),
        ("container:x", "unsupported network 'container:x' for a build"),
    ):
        told = build(host, "RUN echo ran > /dev/console\n", "--network", name, status=None)
        assert said in told and "RUN" not in told


def test_a_step_that_is_killed_leaves_no_address(host):
    import signal

    host.estiva("network", "create", "lab")
    pathlib.Path(host.folder, "ctx/Dockerfile").write_text(f"FROM {IMAGE}\nRUN sleep 1000\n")
    building = host.start("build", "--network", "lab", f"{host.folder}/ctx")
    enginekit.eventually(lambda: host.db("SELECT 1 FROM leases"))
    assert "network lab has active endpoints" in host.estiva("network", "rm", "lab", status=1).stderr
    building.send_signal(signal.SIGKILL)
    building.wait()
    enginekit.eventually(lambda: host.estiva("network", "rm", "lab", status=None).returncode == 0)


@pytest.mark.parametrize(
    ("rebooted", "verb"), [(False, ("rm", "lab")), (True, ("rm", "lab")), (False, ("prune", "-f"))]
)
def test_a_step_that_is_killed_before_it_has_a_monitor_leaves_no_address(host, rebooted, verb):
    """Its address is taken, and nothing that would give it back has begun."""
    host.estiva("network", "create", "lab")
    pathlib.Path(host.folder, "ctx/Dockerfile").write_text(f"FROM {IMAGE}\nRUN true\n")
    code = (
        "import os, estiva\n"
        "from estiva.engine.launch import launch\n"
        "launch.launch = lambda *words: os.kill(os.getpid(), 9)\n"
        f"estiva.Engine().images.build({host.folder + '/ctx'!r}, network='lab')\n"
    )
    host.python(code, status=-9)
    assert len(host.db("SELECT 1 FROM leases")) == 1
    if rebooted:
        host.power_cut()
    host.estiva("network", *verb)
    assert not host.db("SELECT 1 FROM leases")
    assert not host.db("SELECT 1 FROM networks")
    assert not os.listdir(f"{host.folder}/run/containers")
