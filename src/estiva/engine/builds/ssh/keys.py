"""Private keys in files, and what an agent does with them: name the public ones, and sign.

RFC 4253 (ssh-rsa), 5656 (ecdsa), 8332 (rsa-sha2), 8709 (ed25519). The arithmetic is that of the package
`cryptography`, which is only there with `pip install estiva[ssh]`.
"""

from __future__ import annotations

import os
import stat

from estiva.engine.builds.ssh.protocol import (
    IDENTITIES_ANSWER,
    REFUSAL,
    REQUEST_IDENTITIES,
    SIGN_RESPONSE,
    Malformed,
    number,
    string,
    take,
)
from estiva.errors import InvalidInput, NotFound, Unsupported, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LIMIT = 100 << 10  # bytes of a file, as docker has it
RSA_SHA256, RSA_SHA512 = 2, 4  # flags of a sign request
_INSTEAD = "add it to an agent with ssh-add, and give that with: --ssh ID=SOCKET"


class Key:
    """One key. `blob` is its public half as it goes over the wire."""

    def __init__(self, path: str, data: bytes) -> None:
        self.comment = os.path.basename(path)
        self.secret = _load(path, data)
        self.blob = _blob(path, self.secret)

    def sign(self, data: bytes, flags: int) -> bytes:
        """A signature as it goes over the wire."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

        key: Any = self.secret
        digest: Any
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return string(b"ssh-ed25519") + string(key.sign(data))
        if isinstance(key, rsa.RSAPrivateKey):
            name, digest = b"ssh-rsa", hashes.SHA1()  # what a server of long ago asks for
            if flags & RSA_SHA512:
                name, digest = b"rsa-sha2-512", hashes.SHA512()
            elif flags & RSA_SHA256:
                name, digest = b"rsa-sha2-256", hashes.SHA256()
            return string(name) + string(key.sign(data, padding.PKCS1v15(), digest))
        curve = key.curve.name
        hashed = {"secp256r1": hashes.SHA256(), "secp384r1": hashes.SHA384(), "secp521r1": hashes.SHA512()}
        first, second = utils.decode_dss_signature(key.sign(data, ec.ECDSA(hashed[curve])))
        return string(take(self.blob, 0)[0]) + string(number(first) + number(second))


class Keyring:
    """The keys of some files. Raises NotFound, InvalidInput, Unsupported."""

    def __init__(self, paths: list[str]) -> None:
        self.keys = [Key(path, read(path)) for path in paths]

    def answer(self, message: bytes) -> bytes:
        """The answer to one request for identities or a signature."""
        if message[0] == REQUEST_IDENTITIES:
            listed = [string(key.blob) + string(key.comment.encode("utf-8", "replace")) for key in self.keys]
            return bytes((IDENTITIES_ANSWER,)) + len(listed).to_bytes(4, "big") + b"".join(listed)
        try:
            blob, at = take(message, 1)
            data, at = take(message, at)
        except Malformed:
            return REFUSAL
        if len(message) != at + 4:
            return REFUSAL
        flags = int.from_bytes(message[at:], "big")
        for key in self.keys:
            if key.blob == blob:
                return bytes((SIGN_RESPONSE,)) + string(key.sign(data, flags))
        return REFUSAL


def read(path: str) -> bytes:
    """What is in a key's file. Raises NotFound, InvalidInput."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise InvalidInput(f"ssh key {path}: it is neither a file nor the socket of an agent")
            data = file.read(LIMIT + 1)
    except OSError as error:
        raise NotFound(f"ssh key {path}: {reason(error)}") from None
    if len(data) > LIMIT:
        raise InvalidInput(f"ssh key {path}: it is larger than {LIMIT >> 10} KiB")
    return data


def _load(path: str, data: bytes) -> Any:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
    except ImportError:
        raise Unsupported(
            f"ssh key {path}: the Python package cryptography is missing, which serves key files",
            hint=f"pip install cryptography; or {_INSTEAD}",
        ) from None
    load: Any = serialization.load_pem_private_key
    if b"-----BEGIN OPENSSH PRIVATE KEY-----" in data:
        load = serialization.load_ssh_private_key
    try:
        return load(data, password=None)
    except TypeError:  # so it says that there is a passphrase
        raise InvalidInput(f"ssh key {path}: it has a passphrase", hint=_INSTEAD) from None
    except UnsupportedAlgorithm:
        raise _other(path) from None
    except ValueError as error:
        if "assword" in str(error):
            raise InvalidInput(f"ssh key {path}: it has a passphrase", hint=_INSTEAD) from None
        raise InvalidInput(f"ssh key {path}: it is no private key") from None


def _blob(path: str, secret: Any) -> bytes:
    import base64

    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if not isinstance(secret, (ed25519.Ed25519PrivateKey, rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
        raise _other(path)
    try:
        form = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        line = secret.public_key().public_bytes(*form)
    except (UnsupportedAlgorithm, ValueError):
        raise _other(path) from None
    return base64.b64decode(line.split()[1])


def _other(path: str) -> Unsupported:
    return Unsupported(f"ssh key {path}: only ed25519, rsa and ecdsa keys are supported", hint=_INSTEAD)
