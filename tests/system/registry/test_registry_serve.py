"""`estiva registry` as a process: killed, told to stop, its clients killed, its garbage collected."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from registry_support import (
    SOURCE,
    ask,
    push_blob,
    sample,
    sha256,
    upload,
    wait_for,
)

IMAGE = sample(81, sizes=(2_000, 100))


@contextlib.contextmanager
def serving(tmp_path, *options, text=""):
    """The command line's registry, in asyncio's debug mode; `.address`, and `.said()`: all it wrote once it
    has ended."""
    (tmp_path / "registry.toml").write_text(f"listen = '127.0.0.1:0'\nroot = 'registry'\n{text}")
    command = [
        sys.executable,
        "-X",
        "dev",
        "-m",
        "estiva",
        "registry",
        "serve",
        "-c",
        "registry.toml",
        *options,
    ]
    running = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": SOURCE, "ESTIVA_ROOT": str(tmp_path / "state")},
    )
    lines = []
    for line in running.stdout:
        lines.append(line)
        if line.startswith("serving "):
            running.address = line.split()[-1]
            break
    else:
        raise AssertionError(lines)
    reader = threading.Thread(target=lambda: lines.extend(running.stdout))
    reader.start()

    def said():
        running.wait(120)
        reader.join(120)
        return "".join(lines[:])

    running.said = said
    try:
        yield running
    finally:
        running.kill()
        running.wait()
        reader.join(120)
        running.stdout.close()


def estiva(tmp_path, *words):
    environment = {**os.environ, "PYTHONPATH": SOURCE, "ESTIVA_ROOT": str(tmp_path / "state")}
    return subprocess.run(
        [sys.executable, "-m", "estiva", *words],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env=environment,
    )


def raw(address):
    host, port = address.split(":")
    return socket.create_connection((host, int(port)))


QUIET = ("Traceback", "Task was destroyed", "never awaited", "ResourceWarning", "exception was never")


def assert_quiet(text):
    assert not [word for word in QUIET if word in text], text


def test_a_push_that_is_killed_half_way_leaves_nothing_visible(tmp_path):
    blob = os.urandom(3_000_000)
    with serving(tmp_path) as server:
        place = ask(server.address, "POST", "/v2/a/b/blobs/uploads/")[1]["Location"]
        push_blob(server.address, "a/b", IMAGE.config)
        with raw(server.address) as connection:
            head = f"PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(blob)}\r\n\r\n"
            connection.sendall(head.encode() + blob[:2_000_000])
            upload_file = tmp_path / "registry/uploads" / place.rpartition("/")[2]
            wait_for(lambda: upload_file.stat().st_size > 0)
            server.kill()
            server.wait()
    with serving(tmp_path) as server:
        assert ask(server.address, "HEAD", f"/v2/a/b/blobs/{sha256(blob)}")[0] == 404
        assert json.loads(ask(server.address, "GET", "/v2/a/b/tags/list")[2])["tags"] == []
        assert os.listdir(tmp_path / "registry/blobs/sha256") == [sha256(IMAGE.config)[7:]]
        # and the client may go on where the server was killed
        done = int(ask(server.address, "GET", place)[1]["Range"].partition("-")[2]) + 1
        assert 0 < done <= 2_000_000
        status = ask(server.address, "PUT", f"{place}?digest={sha256(blob)}", blob[done:])[0]
        assert status == 201
        server.terminate()
        assert_quiet(server.said())


def test_clients_that_are_killed_are_no_news(tmp_path):
    with serving(tmp_path) as server:
        digest = push_blob(server.address, "a/b", bytes(48 << 20))
        place = ask(server.address, "POST", "/v2/a/b/blobs/uploads/")[1]["Location"]
        for request in (
            f"GET /v2/a/b/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n",
            f"PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc",
            "GET /v2/ HTTP/1.1\r\nHost",
            "PUT /v2/a/b/manifests/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
        ):
            for linger in (True, False):
                with raw(server.address) as connection:
                    if linger:  # hang up with a reset
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    connection.sendall(request.encode())
                    if request.startswith("GET /v2/a"):
                        connection.recv(1000)

        def over():
            metrics = ask(server.address, "GET", "/metrics")[2].decode()
            return "estiva_registry_requests_running 1\n" in metrics

        wait_for(over)
        server.terminate()
        assert_quiet(server.said())
        assert server.returncode == 0


def test_a_stop_waits_for_a_transfer_but_not_for_ever(tmp_path):
    with serving(tmp_path, text="stop-timeout = 0.5\n") as server:
        digest = push_blob(server.address, "a/b", bytes(48 << 20))
        with raw(server.address) as stuck, raw(server.address):
            stuck.sendall(f"GET /v2/a/b/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            stuck.recv(1000)
            server.send_signal(signal.SIGTERM)
            assert_quiet(server.said())
            assert server.returncode == 0


def test_a_second_signal_ends_it_at_once(tmp_path):
    with serving(tmp_path, text="stop-timeout = 1000\n") as server:
        digest = push_blob(server.address, "a/b", bytes(48 << 20))
        with raw(server.address) as stuck:
            stuck.sendall(f"GET /v2/a/b/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            stuck.recv(1000)
            server.send_signal(signal.SIGTERM)

            def refused():
                with contextlib.suppress(OSError):
                    raw(server.address).close()
                    return False
                return True

            wait_for(refused)
            server.send_signal(signal.SIGTERM)
            server.said()
            assert server.returncode == 128 + signal.SIGTERM


def test_an_upload_ends_before_the_server_does(tmp_path):
    blob = os.urandom(2_000_000)
    with serving(tmp_path, text="stop-timeout = 300\n") as server:  # the disk may be busy
        connection = http.client.HTTPConnection(server.address, timeout=120)
        connection.putrequest("POST", f"/v2/a/b/blobs/uploads/?digest={sha256(blob)}")
        connection.putheader("Content-Length", str(len(blob)))
        connection.endheaders(blob[:1_000_000])
        uploads = tmp_path / "registry/uploads"
        wait_for(lambda: any(entry.stat().st_size for entry in uploads.iterdir()))
        server.terminate()
        connection.send(blob[1_000_000:])
        assert connection.getresponse().status == 201
        connection.close()
        assert_quiet(server.said())
        assert server.returncode == 0
    assert os.listdir(tmp_path / "registry/blobs/sha256") == [sha256(blob)[7:]]


def test_gc_beside_a_server_and_without(tmp_path):
    with serving(tmp_path) as server:
        upload(server.address, "a/b", "1", IMAGE)
        push_blob(server.address, "a/b", b"stray")
        words = ("registry", "gc", "-c", "registry.toml", "--grace", "0s")
        done = estiva(tmp_path, *words, "--dry-run")
        assert (done.returncode, done.stdout) == (
            0,
            "1 blobs of repositories would go\n5 bytes to be freed\n",
        )
        done = estiva(tmp_path, *words)
        assert (done.returncode, done.stdout) == (0, "1 blobs of repositories gone\n5 bytes freed\n")
        assert ask(server.address, "DELETE", "/v2/a/b/manifests/1")[0] == 202
        server.terminate()
        assert_quiet(server.said())
    assert estiva(tmp_path, *words).stdout == "0 bytes freed\n"
    assert "1 manifests gone\n" in estiva(tmp_path, *words, "--untagged").stdout
    assert os.listdir(tmp_path / "registry/blobs/sha256") == []
    for wrong in (("--grace", "soon"), ("--root", "nowhere"), ("-c", "none.toml")):
        done = estiva(tmp_path, "registry", "gc", *wrong)
        assert done.returncode == 1 and done.stderr.startswith("estiva: ") and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "text", "says"),
    [
        ((), "colour = 'red'", "unknown key 'colour'"),
        ((), "htpasswd = 'none'", "no such file"),
        ((), "tls-cert = 'none.pem'", "can't use the certificate"),
        (("--listen", "nowhere"), "", "is not an address"),
        ((), "[token]", "without users"),
    ],
)
def test_what_it_can_not_serve_it_says_in_one_line(tmp_path, options, text, says):
    (tmp_path / "registry.toml").write_text(f"root = 'registry'\nlisten = '127.0.0.1:0'\n{text}\n")
    done = estiva(tmp_path, "registry", "serve", "-c", "registry.toml", *options)
    assert done.returncode == 1
    assert says in done.stderr.splitlines()[0] and "Traceback" not in done.stderr
