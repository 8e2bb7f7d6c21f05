"""The server itself: where it listens, whom it lets in, what hostile bytes do, how it ends."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import stat
import subprocess

import pytest

from apikit import IMAGE, serving
from enginekit import ESTIVA, eventually


@pytest.fixture(scope="module")
def api():
    with serving() as made:
        yield made


def raw(api, data, seconds=20):
    """All that the server answers to some bytes until it closes the connection."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.settimeout(seconds)
        one.connect(api.socket)
        one.sendall(data)
        got = b""
        while piece := one.recv(1 << 16):
            got += piece
    return got


def request(words, body=b"", *headers):
    lines = [*headers, "Host: d", "Content-Type: application/json", "Connection: close"]
    if not any(line.startswith("Transfer-Encoding") for line in lines):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([f"{words} HTTP/1.1", *lines, "", ""]).encode() + body


CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request("POST /networks/create", b"ZZ\r\n{}\r\n0\r\n\r\n", CHUNKED), 400),
        (request("POST /networks/create", b'5\r\n{"a":XXXX\r\n0\r\n\r\n', CHUNKED), 400),
        (request("GET /_ping", b"", "X-A: " + "a" * 400_000), 400),
        (request("GET /_ping", b"", *(f"X-{n}: a" for n in range(5000))), 400),
        (b"\x16\x03\x01\0\0\0\0\r\n\r\n", 400),
        (request("POST /volumes/create", b"[" * 200_000), 400),
        (request("POST /volumes/create", b'{"Name":' + b"9" * 100_000 + b"}"), 400),
        (request("POST /volumes/create", b'{"Name":"two","Name":["x"]}'), 400),
        (request("POST /volumes/create", b"", "Content-Length: 100000000"), 400),
        (request("GET /volumes?filters=%7B%22a%22:1%7D"), 400),
        (request("PUT /info"), 404),
        (request("HEAD /info"), 404),
        (request("GET /v1.99/info"), 400),
        (request("GET /v1.23/info"), 400),
    ],
    ids=lambda value: str(value)[:24],
)
def test_hostile_requests_are_errors_of_their_own(api, data, status):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.settimeout(20)
        one.connect(api.socket)
        one.sendall(data)
        assert one.recv(1 << 12).split()[1] == str(status).encode()
    assert api.get("/_ping")[0] == 200


def test_requests_one_after_the_other_in_one_packet(api):
    words = b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n"
    got = raw(api, words * 50 + request("GET /nope"))
    assert got.count(b"HTTP/1.1 200 OK") == 50 and got.endswith(b'{"message":"page not found"}\n')


def test_the_socket_is_for_root_and_its_group(api):
    there = os.stat(api.socket)
    mode, group = stat.S_IMODE(there.st_mode), there.st_gid
    try:
        import grp

        assert (mode, group) == (0o660, grp.getgrnam("docker").gr_gid)
    except KeyError:
        assert mode == 0o600


def test_two_servers_do_not_take_each_others_socket(api):
    second = api.estiva("api", "serve", "--listen", f"unix://{api.socket}", status=1)
    assert f"another server listens on {api.socket}" in second.stderr
    assert api.get("/_ping")[0] == 200
    api.stop(signal.SIGKILL)
    assert os.path.exists(api.socket)
    api.serve()  # what the killed one has left keeps nobody out
    assert api.get("/_ping")[0] == 200
    api.stop()
    assert not os.path.exists(api.socket) and not os.path.exists(f"{api.socket}.lock")
    pathlib.Path(api.socket).write_text("mine")
    refused = api.estiva("api", "serve", "--listen", f"unix://{api.socket}", status=1)
    assert "it is there, and no socket" in refused.stderr
    assert pathlib.Path(api.socket).read_text() == "mine"
    os.unlink(api.socket)
    api.serve()


def test_ctrl_c_with_streams_open(api):
    api.estiva("run", "-d", "--name", "long", "--network", "none", IMAGE, "sleep", "1000")
    streams = []
    for _ in range(3):
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        one.settimeout(30)
        one.connect(api.socket)
        one.sendall(b"POST /containers/long/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: d\r\n\r\n")
        assert one.recv(4096).startswith(b"HTTP/1.1 200")
        streams.append(one)
    api.stop(signal.SIGINT)
    assert [one.recv(10) for one in streams] == [b""] * 3
    for one in streams:
        one.close()
    assert api.server.returncode == 0
    assert api.out("ps", "--format", "{{.Names}}") == "long"
    api.estiva("rm", "-f", "long")
    api.serve()


def test_it_ends_when_nobody_asks(api):
    path = f"{api.folder}/idle.sock"
    words = ("api", "serve", "--listen", f"unix://{path}", "--idle-timeout", "1s")
    child = api.start(*words, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline().startswith("serving")
    assert child.wait(30) == 0 and not os.path.exists(path)
    child.stdout.close()


def test_sockets_that_systemd_passes(api):
    path = f"{api.folder}/passed.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(path)
        listening.listen(5)
        told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        told.bind(f"{api.folder}/notify")
        told.settimeout(30)
        words = [ESTIVA, "api", "serve", "--listen", "fd://", "--idle-timeout", "2s"]
        child = subprocess.Popen(
            [*api.prefix, "sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", *words],
            env={**api.env, "LISTEN_FDS": "1", "NOTIFY_SOCKET": f"{api.folder}/notify"},
            preexec_fn=lambda: os.dup2(listening.fileno(), 3),
            pass_fds=(3,),
            stdout=subprocess.DEVNULL,
        )
        assert told.recv(100) == b"READY=1"
        told.close()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
            one.connect(path)
            one.sendall(request("GET /_ping"))
            assert one.recv(4096).startswith(b"HTTP/1.1 200")
        assert child.wait(30) == 0
    assert os.path.exists(path)  # which is systemd's
    refused = api.estiva("api", "serve", "--listen", "fd://", status=1)
    assert "there are none" in refused.stderr


def listening(api, *words):
    """A server on TCP: (process, port, what it warns of)."""
    child = api.start("api", "serve", *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = child.stdout.readline()
    assert line.startswith("serving the Docker Engine API on tcp://127.0.0.1:"), child.stderr.read()
    return child, int(line.rpartition(":")[2])


def inside(api, code, *arguments):
    """A Python program in the network of the host; its output."""
    words = [*api.prefix, "/usr/bin/python3", "-c", code, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


ASK = """
import http.client, json, sys
one = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=20)
one.request("GET", "/_ping", headers=json.loads(sys.argv[2]))
print(one.getresponse().status)
"""


def test_tcp_without_tls_is_for_programs_of_this_machine(api):
    for words, why in (
        (("tcp://0.0.0.0:0",), "is refused without TLS"),
        (("tcp://0.0.0.0:0", "--insecure"), "is refused without TLS"),
        (("tcp://127.0.0.1:0",), "or give --insecure"),
    ):
        refused = api.estiva("api", "serve", "--listen", *words, status=1)
        assert why in refused.stderr
    child, port = listening(api, "--listen", "tcp://127.0.0.1:0", "--insecure")
    assert [
        inside(api, ASK, port, json.dumps(headers))
        for headers in (
            {},
            {"Host": "localhost"},
            {"Host": f"127.0.0.1:{port}", "Origin": f"http://127.0.0.1:{port}"},
            {"Host": "evil.example"},
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
        )
    ] == ["200"] * 3 + ["403"] * 4
    if shutil.which("docker"):
        built_over(api, f"tcp://127.0.0.1:{port}")
    child.terminate()
    assert child.wait(20) == 0
    assert "can do all that root can, through tcp://127.0.0.1:" in child.stderr.read()
    child.stdout.close()
    child.stderr.close()


def built_over(api, host, *words):
    """By BuildKit, whose connections are hijacked ones without a name of the host."""
    folder = pathlib.Path(api.folder, "over")
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    env = {"DOCKER_HOST": "", "BUILDX_BUILDER": ""}
    if not api.docker("buildx", "version", status=None).returncode:
        assert "sha256:" in api.docker("-H", host, *words, "build", "-q", folder, env=env).stdout


PAST = ("-not_before", "20200101000000Z", "-not_after", "20200102000000Z")


def certificates(folder):
    """A CA, and what it has signed for a server and a client; a client's of another CA, and one whose time is
    over."""

    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    for ca in ("ca", "other"):
        openssl(
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            f"/CN={ca}",
            "-keyout",
            f"{ca}.key",
            "-out",
            f"{ca}.pem",
        )
    pathlib.Path(folder, "ext").write_text("subjectAltName=IP:127.0.0.1")
    for name, ca in (("server", "ca"), ("client", "ca"), ("stranger", "other"), ("late", "ca")):
        openssl(
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            f"/CN={name}",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.csr",
        )
        openssl(
            "x509",
            "-req",
            "-in",
            f"{name}.csr",
            "-CA",
            f"{ca}.pem",
            "-CAkey",
            f"{ca}.key",
            *(("-days", "2") if name != "late" else PAST),
            "-extfile",
            "ext",
            "-out",
            f"{name}.pem",
        )


TLS_ASK = """
import http.client, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.load_verify_locations("ca.pem")
if sys.argv[2]:
    context.load_cert_chain(sys.argv[2] + ".pem", sys.argv[2] + ".key")
one = http.client.HTTPSConnection("127.0.0.1", int(sys.argv[1]), timeout=20, context=context)
try:
    one.request("GET", "/_ping")
    print(one.getresponse().status)
except (ssl.SSLError, OSError) as error:
    print("refused")
"""


def dockers_client_over_tls(api, folder, host):
    """With a context, with options; a server's certificate of another CA, and none or a wrong one of its own."""
    paths = {name: f"{folder}/{name}.pem" for name in ("ca", "other", "client", "stranger", "late")}
    key, none = f"{folder}/client.key", {"DOCKER_HOST": ""}
    place = f"host={host},ca={paths['ca']},cert={paths['client']},key={key}"
    api.docker("context", "create", "tls", "--docker", place)
    assert api.docker("--context", "tls", "info", "--format", "{{.OSType}}", env=none).stdout == "linux\n"
    run = "--context", "tls", "run", "--rm", "--network", "none"
    for words, typed in (
        (["sh", "-c", "sleep 0.1; echo told"], None),
        (["sh", "-c", "cat; echo told"], "typed, "),
    ):
        done = api.docker(*run, *(["-i"] if typed else []), IMAGE, *words, env=none, input=typed)
        assert done.stdout == f"{typed or ''}told\n"  # though the client's end came before it
    for ca, who, words in (
        ("ca", "client", ""),
        ("other", "client", "certificate signed by unknown authority"),
        ("ca", "stranger", "error during connect"),  # asyncio resets the connection, and sends no alert
        ("ca", "late", "error during connect"),
    ):
        given = f"--tlscacert={paths[ca]}", f"--tlscert={paths[who]}", f"--tlskey={folder}/{who}.key"
        done = api.docker("-H", host, "--tlsverify", *given, "ps", env=none, status=None)
        assert done.returncode == (1 if words else 0) and re.search(words, done.stderr), done.stderr
    api.docker("-H", host, "ps", env=none, status=1)
    given = f"--tlscacert={paths['ca']}", f"--tlscert={paths['client']}", f"--tlskey={key}"
    built_over(api, host, "--tlsverify", *given)


def test_tcp_is_for_clients_with_a_certificate(api, tmp_path):
    certificates(tmp_path)
    files = [
        f"--tls{name}={tmp_path}/{file}"
        for name, file in (("cacert", "ca.pem"), ("cert", "server.pem"), ("key", "server.key"))
    ]
    assert "TLS needs --tlskey" in api.estiva("api", "serve", "--tlsverify", *files[:2], status=1).stderr
    broken = (*files[:2], f"--tlskey={tmp_path}/client.key")
    refused = api.estiva("api", "serve", "--listen", "tcp://127.0.0.1:0", "--tlsverify", *broken, status=1)
    assert "estiva: TLS: " in refused.stderr
    child, port = listening(api, "--listen", "tcp://127.0.0.1:0", "--tlsverify", *files)
    words = [*api.prefix, "/usr/bin/python3", "-c", TLS_ASK, str(port)]
    told = [
        subprocess.run([*words, who], cwd=tmp_path, capture_output=True, text=True, timeout=60).stdout.strip()
        for who in ("client", "stranger", "late", "")
    ]
    assert told == ["200", *["refused"] * 3]
    if shutil.which("docker"):
        dockers_client_over_tls(api, tmp_path, f"tcp://127.0.0.1:{port}")
    child.terminate()
    assert child.wait(20) == 0 and "WARNING" not in child.stderr.read()
    child.stdout.close()
    child.stderr.close()


def test_the_api_on_a_machine_that_is_not_in_a_swarm(api):
    for path in ("/swarm", "/nodes", "/services", "/tasks/x", "/secrets", "/configs/x"):
        status, _, body = api.get(path)
        assert status == 503 and body["message"].startswith("This node is not a swarm manager. Use "), path
    assert api.post("/swarm/leave")[0] == 503
    assert api.get("/plugins")[2] == []
    assert api.get("/plugins/a/b/json")[::2] == (404, {"message": 'plugin "a/b" not found'})


def test_info_and_version_of_dockers_client(api):
    template = "{{.Server.Version}} {{.Server.APIVersion}} {{.Server.MinAPIVersion}} {{.Server.Os}}"
    told = api.docker("version", "--format", template).stdout.split()
    own = api.out("version", "--short").split()[-1]
    assert told == [f"26.1.5+estiva.{own}", "1.51", "1.24", "linux"]  # some clients refuse an old one
    info = json.loads(api.docker("info", "--format", "{{json .}}").stdout)
    assert not info.get("ServerErrors")
    assert (info["Swarm"]["LocalNodeState"], info["DockerRootDir"]) == ("inactive", api.env["ESTIVA_ROOT"])
    assert f"Server Version: {told[0]}" in api.docker("info").stdout
    assert len(info["ID"]) == 36 and info["ID"] == api.get("/info")[2]["ID"]


def test_compose_has_a_socket_of_its_own(api):
    before = api.estiva("compose", "version", status=None)
    if before.returncode == 1 and "no compose program is installed" in before.stderr:
        pytest.skip("compose is not installed")
    path = pathlib.Path(api.folder, "compose.yaml")
    path.write_text(f"services: {{a: {{image: '{IMAGE}'}}}}")
    code = "import os; print(os.environ['DOCKER_HOST'])"
    fake = pathlib.Path(api.folder, "docker/cli-plugins/docker-compose")
    assert api.out("compose", "ls", "-q") == ""
    assert api.estiva("compose", "nosuch", status=None).returncode not in (0, 1)
    fake.parent.mkdir(parents=True)
    fake.write_text(f'#!/bin/sh\npython3 -c "{code}"\nexit $1\n')
    fake.chmod(0o755)
    done = api.estiva("compose", "42", status=42, env={"DOCKER_CONTEXT": "other"})
    socket_path = done.stdout.strip().removeprefix("unix://")
    eventually(lambda: not os.path.exists(os.path.dirname(socket_path)))
    fake.unlink()


def test_containers_have_the_limit_of_files_that_the_server_was_started_with(api):
    path = f"{api.folder}/limit.sock"
    words = [ESTIVA, "api", "serve", "--listen", f"unix://{path}"]
    child = subprocess.Popen(
        [*api.prefix, "sh", "-c", 'ulimit -Sn 1000; exec "$@"', "sh", *words],
        env=api.env, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout.readline().startswith("serving")
    limits = pathlib.Path(f"/proc/{child.pid}/limits").read_text()
    soft, hard = next(line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open files"))
    assert soft == hard
    told = api.docker(
        "run", "--rm", "--network", "none", IMAGE, "sh", "-c", "ulimit -Sn; ulimit -Hn",
        env={"DOCKER_HOST": f"unix://{path}"},
    ).stdout.split()  # fmt: skip
    assert told == ["1000", hard]
    child.terminate()
    assert child.wait(20) == 0
    child.stdout.close()
