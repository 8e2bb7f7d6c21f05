"""Bearer tokens of the registry server: its own, and those of an issuer elsewhere.

A token is a JSON Web Token (RFC 7519) whose `access` claim says what it is good for, as the Docker token
authentication specification has it ("Token Authentication Implementation"):

    {"iss": ..., "aud": SERVICE, "sub": USER, "exp": ..., "access": [
        {"type": "repository", "name": "team/web", "actions": ["pull", "push"]}]}

Our own are HS256 under a key that never leaves the registry's directory, and only such a token is looked at
as one: what kind of key checks a signature is never the token's choice. Those of an issuer are checked by
PyJWT against the public keys of a JWKS file.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import time

from estiva import fastjson, files
from estiva.errors import EstivaError, InvalidInput, Unsupported, oneline, reason
from estiva.registry.server.access import ALL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

LIFE = 300  # seconds
LEEWAY = 30  # between the clocks of issuer and registry
LONGEST = 16 << 10
SCOPES = 64
ISSUER = "estiva"
PUBLIC = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
_HEADER = '{"alg":"HS256","typ":"JWT"}'
_SCOPE = re.compile(r"(repository|registry)(?:\([a-z]+\))?:([^\s]{1,255}):([a-z*,]{1,64})")
_WORD = re.compile(r"[A-Za-z0-9_-]+")


class Refused(Exception):
    """A token that is not good, and why, in words that help nobody to forge one."""


Grants = dict[tuple[str, str], frozenset[str]]  # (type, name) -> actions


def grants(claims: Mapping[str, Any]) -> Grants:
    """What the `access` claim allows; what is malformed allows nothing."""
    found: Grants = {}
    access = claims.get("access")
    for entry in access if isinstance(access, list) else ():
        if not isinstance(entry, dict):
            continue
        kind, name, actions = entry.get("type"), entry.get("name"), entry.get("actions")
        if isinstance(kind, str) and isinstance(name, str) and isinstance(actions, list):
            given = {action for action in actions if isinstance(action, str)}
            if "*" in given:
                given |= ALL
            found[kind, name] = found.get((kind, name), frozenset()) | given
    return found


def parse_scopes(texts: Iterable[str]) -> list[tuple[str, str, frozenset[str]]]:
    """(type, name, actions) of `scope` parameters, each of which may hold several ("Token Scope")."""
    found = []
    for text in texts:
        for scope in text.split():
            match = _SCOPE.fullmatch(scope)
            if match is not None:
                actions = frozenset(match[3].split(","))
                found.append((match[1], match[2], ALL | {"*"} if "*" in actions else actions))
    return found[:SCOPES]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    if not _WORD.fullmatch(text):
        raise Refused("malformed token")
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise Refused("malformed token") from None


class OwnTokens:
    """Issues and checks the registry's own tokens."""

    def __init__(self, key: bytes, service: str, life: int = LIFE) -> None:
        self.key = key
        self.service = service
        self.life = life

    def _signature(self, signed: str) -> str:
        return _encode(hmac.new(self.key, signed.encode(), hashlib.sha256).digest())

    def issue(self, user: str | None, allowed: list[dict[str, Any]]) -> str:
        now = int(time.time())
        claims = {
            "iss": ISSUER, "aud": self.service, "sub": user or "", "iat": now, "nbf": now - LEEWAY,
            "exp": now + self.life, "access": allowed,
        }  # fmt: skip
        signed = f"{_encode(_HEADER.encode())}.{_encode(fastjson.dumps(claims).encode())}"
        return f"{signed}.{self._signature(signed)}"

    def check(self, token: str) -> Mapping[str, Any]:
        """The claims of a good token. Raises Refused."""
        head, _, signature = token.rpartition(".")
        if not hmac.compare_digest(self._signature(head).encode(), signature.encode("utf-8", "replace")):
            raise Refused("not a token of this registry")
        if head.count(".") != 1 or head.partition(".")[0] != _encode(_HEADER.encode()):
            raise Refused("malformed token")
        claims = fastjson.loads(_decode(head.partition(".")[2]), what="a token")
        if not isinstance(claims, dict) or claims.get("aud") != self.service or claims.get("iss") != ISSUER:
            raise Refused("a token of another service")
        now, until, begin = time.time(), claims.get("exp"), claims.get("nbf")
        if not isinstance(until, int) or not isinstance(begin, int) or not begin <= now < until:
            raise Refused("the token has expired")
        return claims


class IssuedTokens:
    """Checks the tokens of an issuer elsewhere by the keys in a JWKS file (RFC 7517).

    The file is read again when it changes.
    """

    def __init__(self, jwks: str, issuer: str, service: str) -> None:
        try:
            import jwt
        except ImportError:
            raise Unsupported(
                "tokens of another issuer need the package PyJWT", hint="pip install 'estiva[registry]'"
            ) from None
        self.jwt = jwt
        self.path = jwks
        self.issuer = issuer
        self.service = service
        self.stamp = 0.0
        self.keys: dict[str | None, Any] = {}
        self._load()

    def _load(self) -> None:
        try:
            stamp = os.stat(self.path).st_mtime
            if stamp == self.stamp:
                return
            keys = self.jwt.PyJWKSet.from_json(files.read_bounded(self.path, 1 << 20).decode()).keys
        except OSError as error:
            raise InvalidInput(f"can't read {self.path}: {reason(error)}") from None
        except (self.jwt.PyJWTError, ValueError, EstivaError) as error:
            raise InvalidInput(f"{self.path} is not a JWKS: {oneline(str(error))[:200]}") from None
        self.keys = {key.key_id: key for key in keys if key.key_type in ("RSA", "EC", "OKP")}
        if not self.keys:
            raise InvalidInput(f"{self.path} has no public key")
        self.stamp = stamp

    def check(self, token: str) -> Mapping[str, Any]:
        """The claims of a good token. Raises Refused."""
        try:
            self._load()
        except InvalidInput:
            pass  # being written: the keys known so far hold
        try:
            named = self.jwt.get_unverified_header(token).get("kid")
            key = self.keys.get(named) or (next(iter(self.keys.values())) if len(self.keys) == 1 else None)
            if key is None:
                raise Refused("signed by a key that is not known")
            # the key says what algorithm checks it, not the token
            algorithms = [key.algorithm_name] if key.algorithm_name in PUBLIC else []
            claims: dict[str, Any] = self.jwt.decode(
                token,
                key.key,
                algorithms=algorithms,
                audience=self.service,
                issuer=self.issuer,
                leeway=LEEWAY,
                options={"require": ["exp", "iss", "aud"]},
            )
        except self.jwt.PyJWTError as error:
            raise Refused(oneline(str(error))[:100]) from None
        return claims


def own_key(root: str) -> bytes:
    """The key of the registry in `root`, made on first use."""
    path = f"{root}/token.key"
    try:
        key = files.read_bounded(path, 1 << 10)
    except FileNotFoundError:
        files.atomic_write(path, os.urandom(32))
        key = files.read_bounded(path, 1 << 10)
    if len(key) < 32:
        raise InvalidInput(f"{path} is no key", hint="remove it: another one is made")
    return key
