"""Credentials of registries: the config.json of docker and podman, and credential helpers.

Files, the first that knows the host wins: REGISTRY_AUTH_FILE alone if set; else DOCKER_CONFIG/config.json or
~/.docker/config.json; then podman's containers/auth.json. `login` and `logout` write the first of them.

    {"auths": {"HOST": {"auth": base64(USER:PASSWORD), "identitytoken": ...}},
     "credHelpers": {"HOST": "NAME"}, "credsStore": "NAME"}     NAME runs docker-credential-NAME
"""

from __future__ import annotations

import base64
import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass

from estiva import files
from estiva.errors import EngineError, InvalidInput, Unavailable, oneline, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

FILE_LIMIT = 1 << 20
ANSWER_LIMIT = 1 << 20  # bytes that a helper may say
HELPER_TIMEOUT = 30.0  # seconds; a helper may ask the user
DOCKER_HUB = "docker.io"
DOCKER_HUB_KEY = "https://index.docker.io/v1/"
_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Credentials:
    """Either user and password, or an identity token that a token server takes in their place, or a token
    that the registry itself takes."""

    user: str
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""

    def __repr__(self) -> str:
        return f"Credentials({self.user!r}, ...)"  # nothing secret in a traceback or log

    def basic(self) -> str:
        """The Authorization header of RFC 7617."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


def auth_files(override: str | None = None) -> list[str]:
    """The files that may hold credentials, in the order in which they are asked."""
    alone = override or os.environ.get("REGISTRY_AUTH_FILE")
    if alone:
        return [alone]
    home = os.path.expanduser("~")
    found = [os.path.join(os.environ.get("DOCKER_CONFIG") or f"{home}/.docker", "config.json")]
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        found.append(f"{runtime}/containers/auth.json")
    found.append(f"{os.environ.get('XDG_CONFIG_HOME') or home + '/.config'}/containers/auth.json")
    return found


def lookup(host: str, repository: str = "", *, auth_file: str | None = None) -> Credentials | None:
    """The credentials for a registry, or for one repository of it (podman's finer keys); None: anonymous.

    Runs a credential helper where one is configured. Raises InvalidInput for a damaged file.
    """
    for path in auth_files(auth_file):
        config = _load(path)
        helper = _helper(config, host, path)
        if helper:
            credentials = _ask_helper(helper, _server(host))
            if credentials is not None:
                return credentials
        auths = config.get("auths")
        if isinstance(auths, dict):
            credentials = _from_auths(auths, host, repository, path)
            if credentials is not None:
                return credentials
    return None


def store(host: str, credentials: Credentials, *, auth_file: str | None = None) -> str:
    """Keep credentials in the helper or the file (0600, replaced in one step). Returns where."""
    path = auth_files(auth_file)[0]
    config = _load(path)
    helper = _helper(config, host, path)
    server = _server(host)
    if helper:
        secret = credentials.identity_token or credentials.password
        user = "<token>" if credentials.identity_token else credentials.user
        _run_helper(helper, "store", json.dumps({"ServerURL": server, "Username": user, "Secret": secret}))
        return f"docker-credential-{helper}"
    entry = {"auth": base64.b64encode(f"{credentials.user}:{credentials.password}".encode()).decode()}
    if credentials.identity_token:
        entry["identitytoken"] = credentials.identity_token
    config.setdefault("auths", {})[server] = entry
    _save(path, config)
    return path


def erase(host: str, *, auth_file: str | None = None) -> bool:
    """Forget a host's credentials. False: there were none."""
    path = auth_files(auth_file)[0]
    config = _load(path)
    helper = _helper(config, host, path)
    known = helper is not None and _ask_helper(helper, _server(host)) is not None
    if helper and known:
        _run_helper(helper, "erase", _server(host))
    auths = config.get("auths")
    gone = [key for key in _keys(host, "") if isinstance(auths, dict) and auths.pop(key, None) is not None]
    if gone:
        _save(path, config)
    return bool(gone) or known


def _server(host: str) -> str:
    return DOCKER_HUB_KEY if host == DOCKER_HUB else host


def _keys(host: str, repository: str) -> list[str]:
    """Every key under which the tools of the field file a host, the most specific first."""
    parts = repository.split("/") if repository else []
    finer = [f"{host}/" + "/".join(parts[:count]) for count in range(len(parts), 0, -1)]
    if host == DOCKER_HUB:
        names = ["index.docker.io", "registry-1.docker.io", DOCKER_HUB]
        return [
            *finer,
            DOCKER_HUB_KEY,
            "https://index.docker.io/v1",
            *names,
            *(f"https://{n}" for n in names),
        ]
    plain = [host, f"{host}/"]
    urls = [
        f"{scheme}://{host}{path}"
        for scheme in ("https", "http")
        for path in ("", "/", "/v1/", "/v2/", "/v2")
    ]
    return [*finer, *plain, *urls]


def _from_auths(auths: dict[str, Any], host: str, repository: str, path: str) -> Credentials | None:
    for key in _keys(host, repository):
        entry = auths.get(key)
        if not isinstance(entry, dict):
            continue
        user, password = str(entry.get("username") or ""), str(entry.get("password") or "")
        encoded = entry.get("auth")
        if encoded:
            try:
                decoded = base64.b64decode(str(encoded), validate=True).decode().rstrip("\0")
            except ValueError:
                raise InvalidInput(f"{path}: the auth of {oneline(key)} is not base64") from None
            user, _, password = decoded.partition(":")
        token = str(entry.get("identitytoken") or "")
        if user or token:
            return Credentials(user, password, token)
    return None


def _load(path: str) -> dict[str, Any]:
    try:
        data = files.read_bounded(path, FILE_LIMIT)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise InvalidInput(f"can't read {path}: {reason(error)}") from None
    try:
        config = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise InvalidInput(f"{path} is not a json object", hint="repair it, or move it away and log in again")
    return config


def _save(path: str, config: dict[str, Any]) -> None:
    directory = os.path.dirname(os.path.abspath(path))
    os.makedirs(directory, mode=0o700, exist_ok=True)
    target = os.path.realpath(path)  # a symlinked config stays a symlink
    files.atomic_write(target, json.dumps(config, indent="\t").encode() + b"\n", mode=0o600)


def _helper(config: dict[str, Any], host: str, path: str) -> str | None:
    """The name of the host's credential helper."""
    helpers = config.get("credHelpers")
    name = None
    if isinstance(helpers, dict):
        name = next((helpers[key] for key in _keys(host, "") if helpers.get(key)), None)
    name = name or config.get("credsStore") or None
    if name is None:
        return None
    if not isinstance(name, str) or not _HELPER_NAME.fullmatch(name):
        raise InvalidInput(f"{path}: {oneline(str(name))[:80]!r} is not the name of a credential helper")
    return name


def _ask_helper(name: str, server: str) -> Credentials | None:
    answer = _run_helper(name, "get", server)
    if answer is None:
        return None
    try:
        value = json.loads(answer)
        user, secret = value["Username"], value["Secret"]
    except (ValueError, KeyError, TypeError, RecursionError):
        user = secret = None
    if not all(isinstance(text, str) and text.isprintable() for text in (user, secret)):
        raise EngineError(f"docker-credential-{name} gave no credentials but something else")
    if user == "<token>":
        return Credentials("", "", secret)
    return Credentials(user, secret) if user or secret else None


def _run_helper(name: str, verb: str, text: str) -> str | None:
    """Run docker-credential-NAME. None: it knows no credentials for this server."""
    program = shutil.which(f"docker-credential-{name}")
    if program is None:
        raise EngineError(
            f"the credential helper docker-credential-{name} is not on the PATH",
            hint="install it, or take it out of the config.json of docker",
        )
    status, answer, complaint = _bounded(program, verb, text)
    said = answer.decode(errors="replace").strip()
    if status:
        if "not found" in said.lower():
            return None
        said = said or complaint.decode(errors="replace").strip()
        raise EngineError(f"docker-credential-{name} failed: {oneline(said)[:200]}")
    return said


def _bounded(program: str, verb: str, text: str) -> tuple[int, bytes, bytes]:
    """(status, output, errors) of a helper, which has HELPER_TIMEOUT seconds and ANSWER_LIMIT bytes, and is
    ended with whatever it has started."""
    name = os.path.basename(program)
    try:
        running = subprocess.Popen(
            [program, verb],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise EngineError(f"can't run {program}: {reason(error)}") from None
    assert running.stdin is not None and running.stdout is not None and running.stderr is not None
    streams = {running.stdout: bytearray(), running.stderr: bytearray()}
    ended = False
    try:
        try:
            running.stdin.write(text.encode())
            running.stdin.close()
        except BrokenPipeError:
            pass
        _collect(streams, name)
        running.wait(10.0)
        ended = True
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{name} did not end") from None
    finally:
        if not ended:
            try:
                os.killpg(running.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            running.wait()
        for stream in (running.stdin, *streams):
            try:
                stream.close()
            except OSError:
                pass
    return running.returncode, bytes(streams[running.stdout]), bytes(streams[running.stderr])


def _collect(streams: dict[IO[bytes], bytearray], name: str) -> None:
    """Read pipes to their ends, within the limits."""
    until = time.monotonic() + HELPER_TIMEOUT
    with selectors.DefaultSelector() as waiting:
        for stream in streams:
            waiting.register(stream, selectors.EVENT_READ)
        while waiting.get_map():
            left = until - time.monotonic()
            if left <= 0:
                raise Unavailable(f"{name} did not answer in {HELPER_TIMEOUT:.0f} s")
            for key, _ in waiting.select(left):
                piece = os.read(key.fd, 1 << 16)
                if not piece:
                    waiting.unregister(key.fileobj)
                    continue
                found = streams[key.fileobj]  # type: ignore[index]
                found += piece
                if len(found) > ANSWER_LIMIT:
                    raise EngineError(f"{name} says more than {ANSWER_LIMIT} bytes")
