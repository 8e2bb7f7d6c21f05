"""A Host with the Docker Engine API served over it, and docker's own client.

with serving() as api:
    api.docker("run", "--rm", IMAGE, "true")       docker's client, as a user types it
    api.get("/containers/json?all=1")               one request: (status, headers, body)
"""

import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess

import pytest

import enginekit
from enginekit import IMAGE

__all__ = ["IMAGE", "Api", "serving"]


class Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path, timeout=60):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Api(enginekit.Host):
    """`socket`: the path of the server's socket; `server`: its process."""

    def __init__(self, driver=None):
        super().__init__(driver)
        self.socket = f"{self.folder}/docker.sock"
        self.serve()

    def serve(self, *words, **options):
        """Start the server, and wait until it answers. `options`: of subprocess.Popen."""
        given = ("api", "serve", "--listen", f"unix://{self.socket}", *words)
        self.server = self.start(*given, stdout=subprocess.PIPE, text=True, **options)
        assert self.server.stdout.readline().startswith("serving ")

    def docker(self, *words, status=0, input=None, timeout=120, env=None):
        """docker's client; its CompletedProcess. `status=None` takes any exit status."""
        client = shutil.which("docker")
        if client is None:
            pytest.skip("docker's client is not here")
        done = subprocess.run(
            [*self.prefix, client, *map(str, words)],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**self.env, "DOCKER_HOST": f"unix://{self.socket}", "HOME": self.folder, **(env or {})},
            cwd=self.folder,
        )
        assert status is None or done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
        return done

    def ask(self, method, path, body=None, headers=None):
        """One request: (status, headers, body), JSON read where it is some."""
        connection = Connection(self.socket)
        try:
            data = json.dumps(body).encode() if isinstance(body, dict | list) else body
            given = {"Content-Type": "application/json"} if isinstance(body, dict | list) else {}
            connection.request(method, path, data, {**given, **(headers or {})})
            answer = connection.getresponse()
            raw = answer.read()
        finally:
            connection.close()
        if answer.headers.get_content_type() == "application/json" and raw.strip():
            with contextlib.suppress(ValueError):  # a stream of objects
                return answer.status, answer.headers, json.loads(raw)
        return answer.status, answer.headers, raw

    def get(self, path):
        return self.ask("GET", path)

    def post(self, path, body=None):
        return self.ask("POST", path, body)

    def stop(self, number=signal.SIGTERM):
        """End the server, which ends soon and leaves no socket's file behind that keeps the next one out."""
        self.server.send_signal(number)
        self.server.wait(20)

    def close(self):
        if self.server.poll() is None:
            self.stop()
        self.server.stdout.close()
        super().close()


@contextlib.contextmanager
def serving(driver=None, image=True):
    """An Api with the busybox image; at the end nothing is left of it."""
    api = Api(driver)
    try:
        if image:
            api.import_busybox()
        yield api
    finally:
        api.close()
    assert not os.path.exists(api.folder) or not list(pathlib.Path(api.folder).glob("run/*"))
