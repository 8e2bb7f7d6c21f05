"""docker, podman, buildah, skopeo and umoci against `estiva registry serve` with users, tokens, TLS and caching."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import bcrypt
import pytest

import bundle
import ocikit
from estiva.registry.server.config import Config, load
from estiva.registry.server.mirror import Upstream
from registry_support import (
    QUICK,
    SOURCE,
    Server,
    ask,
    push_blob,
    sha256,
    tar_image,
    upload,
)

IMAGE = tar_image([{"etc/motd": b"hello\n", "big": bytes(range(256)) * 8000}, {"etc/other": b"2"}])
TOKENS = """
htpasswd = "users"
[token]
[[rule]]
repository = "team/**"
users = "ann"
allow = ["pull", "push"]
[[rule]]
repository = "public/**"
users = ["anonymous", "*"]
"""


def needs(*names):
    return pytest.mark.skipif(not all(map(shutil.which, names)), reason=f"needs {', '.join(names)}")


@pytest.fixture
def folder():
    made = tempfile.mkdtemp(prefix="clients-", dir="/var/tmp")  # podman 4 refuses a long run root
    yield pathlib.Path(made)
    shutil.rmtree(made)


def configure(folder, text):
    (folder / "users").write_text(f"ann:{bcrypt.hashpw(b'secret', bcrypt.gensalt(5)).decode()}\n")
    (folder / "registry.toml").write_text(text)
    return load(str(folder / "registry.toml"))


def run(*words, status=0, **options):
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=300, **options)
    assert (done.returncode == 0) == (status == 0), done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def tool(folder):
    """tool("podman")(words): podman or buildah with state of its own; skopeo with an auth file."""
    (folder / "auth.json").write_text("{}")
    environment = {**os.environ, "REGISTRY_AUTH_FILE": f"{folder}/auth.json"}
    storage = (f"--root={folder}/root", f"--runroot={folder}/run", "--storage-driver=vfs")

    def chosen(name):
        before = {
            "podman": (*storage, f"--tmpdir={folder}/tmp"),
            "buildah": storage,
            "skopeo": ("--insecure-policy",),
        }[name]
        return lambda *words, **options: run(name, *before, *words, env=environment, **options)

    return chosen


@pytest.fixture
def issuing(folder):
    with Server(folder / "registry", config=configure(folder, TOKENS)) as server:
        yield server.address


@pytest.fixture
def basic(folder):
    with Server(folder / "registry", config=configure(folder, 'htpasswd = "users"')) as server:
        yield server.address


@needs("skopeo")
@pytest.mark.parametrize("kind", ["issuing", "basic"])
def test_skopeo_logs_in(request, kind, tool, folder):
    address, skopeo = request.getfixturevalue(kind), tool("skopeo")
    layout = f"oci:{folder}/layout:1"
    with Server(folder / "open") as other:
        upload(other.address, "a", "1", IMAGE)
        skopeo("copy", "--src-tls-verify=false", f"docker://{other.address}/a:1", layout)
    target = f"docker://{address}/team/web:1"
    skopeo("copy", "--dest-tls-verify=false", layout, target, status=1)
    skopeo("login", "--tls-verify=false", "-u", "ann", "-p", "wrong", address, status=1)
    skopeo("login", "--tls-verify=false", "-u", "ann", "-p", "secret", address)
    skopeo("copy", "--dest-tls-verify=false", layout, target)
    assert json.loads(skopeo("inspect", "--tls-verify=false", target))["Digest"] == IMAGE.digest
    if kind == "issuing":
        elsewhere = f"docker://{address}/elsewhere:1"
        skopeo("copy", "--dest-tls-verify=false", layout, elsewhere, status=1)
        skopeo("delete", "--tls-verify=false", target, status=1)


@needs("podman")
def test_podman_logs_in(issuing, tool):
    podman = tool("podman")
    podman("login", "--tls-verify=false", "-u", "ann", "-p", "secret", issuing)
    podman("import", "-q", "-", "made", input="".join(["\0"] * 1024))
    podman("push", "-q", "--tls-verify=false", "made", f"{issuing}/team/made:1")
    podman("push", "-q", "--tls-verify=false", "made", f"{issuing}/public/made:1", status=1)
    podman("rmi", "-a", "-f")
    podman("pull", "-q", "--tls-verify=false", f"{issuing}/team/made:1")
    podman("logout", issuing)
    podman("pull", "-q", "--tls-verify=false", f"{issuing}/team/made:1", status=1)


@needs("buildah")
def test_buildah_builds_from_us_and_pushes_to_us(folder, tool):
    buildah = tool("buildah")
    with Server(folder / "registry") as server:
        upload(server.address, "a/b", "1", IMAGE)
        (folder / "Dockerfile").write_text(f"FROM {server.address}/a/b:1\nCOPY Dockerfile /\nLABEL a=b\n")
        buildah("build", "--tls-verify=false", "--isolation=chroot", "-t", "made", folder)
        for form in ("oci", "docker"):
            target = f"{server.address}/made/{form}:1"
            buildah(
                "push",
                "--tls-verify=false",
                f"--format={'v2s2' if form == 'docker' else form}",
                "made",
                f"docker://{target}",
            )
            manifest = json.loads(ask(server.address, "GET", f"/v2/made/{form}/manifests/1")[2])
            assert [layer["digest"] for layer in manifest["layers"]][:1] and len(manifest["layers"]) == 3
        buildah("rmi", "-a", "-f")
        buildah("pull", "--tls-verify=false", f"docker://{server.address}/made/oci:1")


@needs("skopeo", "umoci")
def test_umoci_unpacks_what_we_serve_and_we_serve_what_it_packs(folder, tool):
    skopeo, layout = tool("skopeo"), f"{folder}/layout"
    with Server(folder / "registry") as server:
        upload(server.address, "a/b", "1", IMAGE)
        skopeo("copy", "--src-tls-verify=false", f"docker://{server.address}/a/b:1", f"oci:{layout}:1")
        run("umoci", "unpack", "--image", f"{layout}:1", folder / "bundle")
        assert (folder / "bundle/rootfs/etc/motd").read_bytes() == b"hello\n"
        (folder / "bundle/rootfs/new").write_text("new")
        run("umoci", "repack", "--image", f"{layout}:2", folder / "bundle")
        skopeo("copy", "--dest-tls-verify=false", f"oci:{layout}:2", f"docker://{server.address}/a/b:2")
        manifest = json.loads(ask(server.address, "GET", "/v2/a/b/manifests/2")[2])
        assert len(manifest["layers"]) == 3


@needs("skopeo", "openssl")
def test_skopeo_over_tls(folder, tool):
    import ssl

    run(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-keyout", folder / "key.pem", "-out", folder / "ca.crt", "-days", "2", "-subj", "/CN=x"),
        *("-addext", "subjectAltName=IP:127.0.0.1"),
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "ca.crt", folder / "key.pem")
    (folder / "certs").mkdir()
    shutil.copy(folder / "ca.crt", folder / "certs")
    with Server(folder / "open") as other, Server(folder / "registry", tls=context) as server:
        upload(other.address, "a", "1", IMAGE)
        tool("skopeo")(
            *("copy", "--src-tls-verify=false", f"--dest-cert-dir={folder}/certs"),
            *(f"docker://{other.address}/a:1", f"docker://{server.address}/a:1"),
        )
        seen = tool("skopeo")("inspect", f"--cert-dir={folder}/certs", f"docker://{server.address}/a:1")
        assert json.loads(seen)["Digest"] == IMAGE.digest
        tool("skopeo")("inspect", f"docker://{server.address}/a:1", status=1)


@pytest.fixture
def debians(folder):
    """docker-registry (distribution 2.8) on a free port."""
    from registry_support import process

    (folder / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        'http: {addr: "127.0.0.1:0"}\n'
    )

    def ready(line):
        _, found, rest = line.partition("listening on 127.0.0.1:")
        return found and "127.0.0.1:" + rest.partition('"')[0].split()[0]

    with process(["docker-registry", "serve", f"{folder}/config.yml"], ready) as running:
        yield running.found


@needs("podman", "docker-registry")
def test_podman_pulls_through_us_from_docker_registry(debians, folder, tool):
    podman = tool("podman")
    podman("import", "-q", "-", "made", input="".join(["\0"] * 1024))
    podman("push", "-q", "--tls-verify=false", "made", f"{debians}/some/thing:1")
    config = Config(upstreams=[Upstream("up", debians, fresh=0)])
    with Server(folder / "registry", config=config, upstream_settings=QUICK) as server:
        podman("rmi", "-a", "-f")
        podman("pull", "-q", "--tls-verify=false", f"{server.address}/up/some/thing:1")
        stored = {f"sha256:{name}" for name in os.listdir(f"{server.root}/blobs/sha256")}
        body = ask(debians, "GET", "/v2/some/thing/manifests/1", headers={"Accept": "*/*, " + ACCEPT})[2]
        assert sha256(body) in stored and len(stored) == 3
        push_blob(server.address, "own", b"x")


ACCEPT = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"


@bundle.requires_kernel
@needs("docker", "dockerd", "unshare", "nsenter", "ip")
def test_docker_logs_in_pushes_and_pulls():
    machine = ocikit.Machine("registry-docker-")
    folder = pathlib.Path(machine.folder)
    try:
        configure(folder, f"listen = '127.0.0.1:5000'\nroot = 'registry'\n{TOKENS}")
        machine.daemon(
            *("env", f"PYTHONPATH={SOURCE}", f"ESTIVA_ROOT={folder}/state", sys.executable, "-m", "estiva"),
            *("registry", "serve", "-c", f"{folder}/registry.toml"),
        )
        answers = "import socket; socket.create_connection(('127.0.0.1', 5000)).close()"
        machine.until(sys.executable, "-c", answers)
        (folder / "daemon.json").write_text(
            json.dumps(
                {
                    "data-root": f"{folder}/root",
                    "exec-root": f"{folder}/exec",
                    "pidfile": f"{folder}/pid",
                    "hosts": [f"unix://{folder}/sock"],
                }
            )
        )
        machine.daemon("dockerd", "--config-file", f"{folder}/daemon.json")

        def docker(*words, **options):
            return machine.run(
                "docker", "--config", f"{folder}/config", "-H", f"unix://{folder}/sock", *words, **options
            )

        machine.until("docker", "-H", f"unix://{folder}/sock", "version")
        with contextlib.closing(open(f"{folder}/empty.tar", "wb")) as tar:
            tar.write(bytes(10240))
        name = "127.0.0.1:5000/team/made:1"
        assert docker("import", f"{folder}/empty.tar", name)[0] == 0
        assert docker("push", name)[0] != 0
        assert docker("login", "-u", "ann", "-p", "wrong", "127.0.0.1:5000")[0] != 0
        status, _, errors = docker("login", "-u", "ann", "-p", "secret", "127.0.0.1:5000")
        assert status == 0, errors
        for _ in range(2):
            status, out, errors = docker("push", name)
            assert status == 0, out + errors
        digest = out.rpartition("digest: ")[2].split()[0]
        assert docker("rmi", name)[0] == 0
        assert docker("pull", f"127.0.0.1:5000/team/made@{digest}")[0] == 0
        assert docker("pull", name)[0] == 0
        assert docker("tag", name, "127.0.0.1:5000/not/hers:1")[0] == 0
        assert docker("push", "127.0.0.1:5000/not/hers:1")[0] != 0
        assert docker("logout", "127.0.0.1:5000")[0] == 0
        assert docker("pull", name)[0] != 0
    finally:
        machine.close()
