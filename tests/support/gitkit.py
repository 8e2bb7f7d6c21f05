"""Repositories of the tests' own, served on loopback by git's own servers: git daemon, and http-backend over http."""

from __future__ import annotations

import base64
import http.server
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "a"), ("EMAIL", "a@b"), ("DATE", "1700000000 +0000"))
}
PLAIN = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "PATH": os.environ["PATH"],
    "LC_ALL": "C",
}


class Repo:
    """A repository below a server's top folder."""

    def __init__(self, top: Path, name: str, *, kind: str = "sha1") -> None:
        self.path = top / name
        self.path.mkdir(parents=True)
        self.git("init", "-q", "-b", "main", f"--object-format={kind}")

    def git(self, *words: str, stdin: bytes = b"") -> str:
        done = subprocess.run(
            ["git", "-c", "protocol.file.allow=always", *words],
            cwd=self.path, env={**PLAIN, **IDENTITY}, input=stdin, capture_output=True, check=True,
        )  # fmt: skip
        return done.stdout.decode().strip()

    def put(self, name: str, text: str | bytes, mode: int = 0o644) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(mode)

    def commit(self, message: str = "x", **files: str) -> str:
        """Commit all, with these files; the commit's id. `__` in a name is a slash, `_dot_` a dot."""
        for name, text in files.items():
            self.put(name.replace("__", "/").replace("_dot_", "."), text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def object(self, kind: str, data: bytes) -> str:
        """Any object, right or wrong."""
        return self.git("hash-object", "-w", "--literally", "-t", kind, "--stdin", stdin=data)

    def bare_commit(self, tree: str, ref: str = "refs/heads/main") -> str:
        """A commit of any tree, without a checkout."""
        made = self.git("commit-tree", "-m", "x", tree)
        self.git("update-ref", ref, made)
        return made


class Daemon:
    """git daemon over a folder; `url` is git://127.0.0.1:PORT."""

    def __init__(self, top: Path) -> None:
        self.top = top
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.process = subprocess.Popen(
            ["git", "daemon", "--listen=127.0.0.1", f"--port={port}", f"--base-path={top}", "--export-all", str(top)],
            env=PLAIN, start_new_session=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.url = f"git://127.0.0.1:{port}"
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                assert self.process.poll() is None
                time.sleep(0.05)
        raise AssertionError("git daemon does not answer")

    def close(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Web(http.server.ThreadingHTTPServer):
    """Repositories over smart http. `seen` are (path, Authorization) of the requests; with `token` each needs
    it; `moved` are paths that redirect elsewhere."""

    daemon_threads = True

    def __init__(self, top: Path, token: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Backend)
        self.top = top
        self.wanted = (
            "Basic " + base64.b64encode(f"x-access-token:{token}".encode()).decode() if token else ""
        )
        self.seen: list[tuple[str, str]] = []
        self.moved: dict[str, str] = {}
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class _Backend(http.server.BaseHTTPRequestHandler):
    server: Web

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _answer(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        given = self.headers.get("Authorization") or ""
        self.server.seen.append((path, given))
        for start, to in self.server.moved.items():
            if path.startswith(start):
                self.send_response(302)
                self.send_header("Location", to + self.path[len(start) :])
                self.end_headers()
                return
        if self.server.wanted and given != self.server.wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.end_headers()
            return
        env = {
            **PLAIN,
            "GIT_PROJECT_ROOT": str(self.server.top),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type") or "",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol") or "",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding") or "",
        }
        done = subprocess.run(["git", "http-backend"], env=env, input=body, stdout=subprocess.PIPE)
        head, _, rest = done.stdout.partition(b"\r\n\r\n")
        lines = [line.partition(": ") for line in head.decode().split("\r\n")]
        status = next((value for name, _, value in lines if name == "Status"), "200 OK")
        self.send_response(int(status.split()[0]))
        for name, _, value in lines:
            if name != "Status":
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(rest)

    def log_message(self, format: str, *args: object) -> None:
        pass
