"""`anatomy`: what is told of a container is what is so; a hostile one can neither lie to the terminal nor stop it."""

import json
import os
import subprocess

import pytest

from enginekit import IMAGE, eventually, host

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


@pytest.fixture(scope="module")
def web(box):
    os.mkdir(f"{box.folder}/data")
    command = "echo hello > /made; rm /bin/who; sleep 1000 & exec sleep 2000"
    limits = (
        "-m",
        "64m",
        "--cpus",
        "0.5",
        "--pids-limit",
        "50",
        "--cap-drop",
        "CHOWN",
        "--cap-add",
        "NET_ADMIN",
    )
    shared = ("-v", f"{box.folder}/data:/data:ro", "-v", "vol:/vol", "-p", "7080:80", "--hostname", "there")
    box.estiva("run", "-d", "--name", "web", *limits, *shared, IMAGE, "sh", "-c", command)
    box.estiva(
        "run",
        "-d",
        "--name",
        "beside",
        "--network",
        "container:web",
        IMAGE,
        "nc",
        "-l",
        "-p",
        "90",
    )
    yield "web"
    box.estiva("rm", "-f", "web", "beside")


def anatomy(box, ref):
    return json.loads(box.out("anatomy", "--json", ref))


def test_of_a_running_container(box, web):
    body = eventually(lambda: (found := anatomy(box, web))["process_count"] == 2 and found)
    init, child = body["processes"]
    assert (init["inside"], init["command"], init["origin"], init["user_inside"]) == (
        1,
        "sleep 2000",
        "init",
        "root",
    )
    assert init["pid"] == body["pid"] == int(box.out("inspect", "-f", "{{.State.Pid}}", web))
    assert child["parent"] == init["pid"] and child["command"] == "sleep 1000"
    kinds = {each["kind"]: each for each in body["namespaces"]}
    assert kinds["user"]["host"] and kinds["time"]["host"] and not kinds["network"]["host"]
    assert kinds["network"]["shared"] == ["beside"] and kinds["pid"]["shared"] == []
    assert kinds["pid"]["id"] == int(os.readlink(f"/proc/{body['pid']}/ns/pid")[5:-1])
    assert kinds["uts"]["differs"] == "the hostname there"
    limits = {each["name"]: each for each in body["cgroup"]["limits"]}
    assert (limits["memory"]["limit"], limits["processes"]["limit"], limits["cpu"]["limit"]) == (
        64 << 20,
        50,
        0.5,
    )
    assert limits["processes"]["used"] == 2
    net = body["network"]
    assert net["ports"] == [{"container": 80, "protocol": "tcp", "address": "0.0.0.0", "host": 7080}]
    address = box.out("inspect", "-f", "{{.NetworkSettings.IPAddress}}", web)
    assert any(f"{address}/16" in each["addresses"] for each in net["interfaces"])
    assert [each["interface"] for each in net["routes"] if each["destination"] == "default"] == ["eth0"]
    assert [(each["protocol"], each["port"]) for each in net["listening"]] == [("tcp", 90)]
    names = {each["name"] for each in body["rights"]["capabilities"]}
    assert (
        "CAP_NET_ADMIN" in names
        and body["rights"]["lacking"] == ["CAP_CHOWN"]
        and body["rights"]["seccomp"] == "filter"
    )
    mounts = {each["destination"]: each for each in body["mounts"]}
    assert (mounts["/data"]["kind"], mounts["/data"]["read_only"]) == ("bind", True)
    assert (mounts["/vol"]["kind"], mounts["/vol"]["source"], mounts["/vol"]["read_only"]) == (
        "volume",
        "vol",
        False,
    )
    assert mounts["/"]["kind"] == "root" and mounts["/proc/keys"]["kind"] == "mask"
    held = body["writable"]
    assert held["removed"] == 1 and {"path": "/made", "size": 6} in held["largest"] and held["complete"]
    assert len(body["layers"]) == 1 and body["unseen"] == []


def test_of_a_stopped_one_and_an_image(box):
    box.estiva(
        "run",
        "--name",
        "over",
        "-m",
        "32m",
        "-v",
        "vol2:/v",
        IMAGE,
        "sh",
        "-c",
        "echo x > /y; exit 3",
        status=3,
    )
    body = anatomy(box, "over")
    assert (
        body["status"] == "exited"
        and not body["processes"]
        and body["network"] is None
        and body["cgroup"] is None
    )
    assert "with status 3" in body["told"][0]
    assert [each["destination"] for each in body["mounts"]] == ["/v"]
    assert body["writable"]["largest"] == [{"path": "/y", "size": 2}]
    image = anatomy(box, IMAGE)
    assert image["kind"] == "image" and "over" in image["containers"] and len(image["layers"]) == 1
    assert "image " + IMAGE in box.out("anatomy", IMAGE)
    box.estiva("rm", "over")


def test_users_of_a_mapped_container(box):
    box.estiva(
        "run",
        "-d",
        "--name",
        "mapped",
        "--network",
        "none",
        "--userns",
        "auto",
        "--user",
        "user",
        IMAGE,
        "sleep",
        "1000",
    )
    body = anatomy(box, "mapped")
    (init,) = body["processes"]
    first = body["users"][0]
    assert init["user_inside"] == "user" and init["uid_inside"] == 1000
    assert init["uid"] == first["outside"] + 1000 and first["inside"] == 0
    assert body["rights"]["capabilities"] == []
    assert not next(each for each in body["namespaces"] if each["kind"] == "user")["host"]
    box.estiva("rm", "-f", "mapped")


def test_a_hostile_container(box):
    evil = "\x1b]0;owned\x07\x1b[2J"
    script = (
        f"mkdir -p '/{evil}'; echo 'ev\x1b[2Jil:x:0:0:::' > /etc/passwd; sh -c 'sleep 1000; true' '{evil}'"
    )
    box.estiva(
        "run",
        "-d",
        "--name",
        "evil",
        "--network",
        "none",
        "--hostname",
        "h",
        IMAGE,
        "sh",
        "-c",
        script,
        status=None,
    )
    box.estiva("exec", "-d", "evil", "sh", "-c", "sleep 1000; true", evil)
    for words in ((), ("--no-color",)):
        text = box.out("anatomy", *words, "evil")
        assert all(line.isprintable() for line in text.splitlines())
    assert "\x1b" not in box.out("anatomy", "--json", "evil")
    on_terminal = subprocess.run(
        ["script", "-qec", f"nsenter -t {box.netns.pid} -n ./estiva anatomy evil", "/dev/null"],
        env={**box.env, "TERM": "xterm"}, capture_output=True, cwd=os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__)))),
    ).stdout  # fmt: skip
    assert b"\x1b[1;36m" in on_terminal and b"\x1b]0;" not in on_terminal and b"\x1b[2J" not in on_terminal
    box.estiva("rm", "-f", "evil")


def test_a_passwd_that_is_no_file_does_not_stop_it(box):
    box.estiva(
        "run",
        "-d",
        "--name",
        "pipe",
        "--network",
        "none",
        IMAGE,
        "sh",
        "-c",
        "rm /etc/passwd; mknod /etc/passwd p; sleep 1000",
    )
    eventually(lambda: box.estiva("exec", "pipe", "test", "-p", "/etc/passwd", status=None).returncode == 0)
    body = anatomy(box, "pipe")
    assert body["processes"][0]["user_inside"] == "" and body["unseen"] == []
    box.estiva("rm", "-f", "pipe")


def test_many_processes(box):
    script = "for i in $(seq 1300); do sleep 1000 & done; echo ready; wait"
    box.estiva("run", "-d", "--name", "many", "--network", "none", IMAGE, "sh", "-c", script)
    eventually(lambda: "ready" in box.out("logs", "many"))
    body = anatomy(box, "many")
    assert (
        body["process_count"] == 1301
        and len(body["processes"]) == 1000
        and body["processes"][0]["inside"] == 1
    )
    assert "and 301 more processes" not in box.out("anatomy", "many")  # the section is shortened before that
    box.estiva("rm", "-f", "many")


def test_watch_and_words(box, web):
    child = box.start("anatomy", "--watch", "--interval", "0.1", web, stdout=subprocess.PIPE, text=True)
    seen = 0
    while seen < 3:
        seen += "container web" in child.stdout.readline()
    child.kill()
    child.stdout.close()
    assert "hint: " in box.estiva("anatomy", "nothing-of-that-name", status=1).stderr
    assert "interval" in box.estiva("anatomy", "--watch", "--interval", "x", web, status=1).stderr
    assert box.estiva("anatomy", "--json", "--watch", web, status=1).stderr.startswith(
        "estiva: conflicting options"
    )


def test_from_python(box, web):
    code = """
import estiva
body = estiva.anatomy("web")
assert body == body and body.process_count == 2, body
same = estiva.Engine().containers.get("web").anatomy()
assert [p.pid for p in same.processes] == [p.pid for p in body.processes]
image = estiva.Engine().images.get("box:1").anatomy()
print(len(image.layers), "web" in image.containers)
try:
    estiva.anatomy("nothing-of-that-name")
except estiva.errors.NotFound as error:
    print(error)
"""
    assert box.python(code).splitlines() == ["1 True", "no such container or image: nothing-of-that-name"]
