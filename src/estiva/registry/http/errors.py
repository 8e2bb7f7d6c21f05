"""What breaks between here and a registry, and reading what comes with a bound on bytes and time (K13)."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import ssl
import time
from email.utils import parsedate_to_datetime

import aiohttp

from estiva.errors import EstivaError, IntegrityError, Unavailable, oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from yarl import URL

DOCUMENT_TIME = 120.0  # seconds that a small document may take, however steadily it drips


class Broken(Exception):
    """An exchange failed in a way that may pass.

    `error` is what the user sees if it does not; `after` the seconds that the server asked for.
    """

    def __init__(self, error: EstivaError, after: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.after = after


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine by definition (no name is resolved)."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def retry_after(header: str) -> float | None:
    """Seconds in a Retry-After header (RFC 9110, section 10.2.3): a number or a date."""
    if not header:
        return None
    if header.isascii() and header.isdigit() and len(header) < 10:
        return float(header)
    try:
        when = parsedate_to_datetime(header)
        return max(0.0, float(when.timestamp()) - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


async def read_small(response: aiohttp.ClientResponse, limit: int, *, cut: bool = False) -> bytes:
    """The body of a response, at most `limit` bytes: more is IntegrityError, or dropped with `cut`."""
    host = str(response.url.host)
    if not cut and (response.content_length or 0) > limit:
        response.close()
        raise IntegrityError(f"{host} sends {response.content_length} bytes where {limit} are the limit")
    body = bytearray()
    try:
        async with asyncio.timeout(DOCUMENT_TIME):
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > limit:
                    response.close()
                    if cut:
                        return bytes(body[:limit])
                    raise IntegrityError(f"{host} sends more than the limit of {limit} bytes")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        response.close()
        if cut:
            return bytes(body)
        raise broken(error, host) from error
    response.release()
    return bytes(body)


UNKNOWN_AUTHORITY = (2, 18, 19, 20, 21)  # X509_V_ERR_*: an issuer that is not there, self-signed


def broken(error: Exception, host: str, port: int | None = None) -> Broken | Unavailable:
    """What went wrong with a connection, in one line."""
    name = f"{host}:{port}" if port else host
    if isinstance(error, (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError)):
        cause = getattr(error, "certificate_error", error)
        why = getattr(cause, "verify_message", "") or "it can't be verified"
        unknown = getattr(cause, "verify_code", 0) in UNKNOWN_AUTHORITY
        hint = f"ESTIVA_REGISTRY_CA=FILE names who signed it, or `ca` of {name} in registries.toml"
        return Unavailable(
            f"the certificate of {name} is not trusted: {oneline(str(why))}", hint=hint if unknown else ""
        )
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        text = f"can't reach {name}: its name can't be resolved"
    elif isinstance(error, aiohttp.ClientConnectorSSLError):
        return Broken(
            Unavailable(
                f"{name} does not speak https",
                hint=f"without TLS: ESTIVA_REGISTRY_PLAIN_HTTP={name}, or `plain-http` in registries.toml",
            )
        )
    elif isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno  # absent when several addresses failed in different ways
        text = f"can't reach {name}: {os.strerror(number).lower() if number else 'no connection'}"
    elif isinstance(error, TimeoutError):
        text = f"{name} does not answer in time"
    else:
        text = f"the connection to {name} broke off"
    return Broken(Unavailable(oneline(text)))


def proxy(url: URL) -> str | None:
    """The proxy that the environment names for a URL; loopback never goes through one."""
    names = (
        (f"{url.scheme}_proxy", f"{url.scheme}_proxy".upper()) if url.scheme == "https" else ("http_proxy",)
    )
    proxy = next((os.environ[name] for name in names if os.environ.get(name)), None)
    if proxy is None or is_loopback(str(url.host)):
        return None
    from urllib import request

    return None if request.proxy_bypass(str(url.host)) else proxy
