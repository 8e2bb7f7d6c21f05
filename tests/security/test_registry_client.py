"""Registries that want what they should not get: credentials, plain http, memory (K9 to K13)."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
import subprocess
from dataclasses import replace

import pytest
from aiohttp import web

from estiva.errors import Denied, EstivaError, IntegrityError, InvalidInput, Unavailable
from estiva.oci.reference import Reference
from estiva.registry import client
from estiva.registry.http import credentials as credential_files
from estiva.registry.http.errors import is_loopback
from estiva.registry.http.settings import Settings
from estiva.registry.http.transport import Transport
from registry_support import (
    OCI_INDEX,
    OCI_MANIFEST,
    QUICK,
    Fault,
    Proxy,
    Server,
    fake_store,
    fill,
    reference,
    sample,
    sha256,
    upload,
)

IMAGE = sample(51, sizes=(200_000, 3_000))
LAYER = sha256(IMAGE.layers[0])
BASIC = "Basic " + base64.b64encode(b"ann:secret").decode()


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("registry")) as server:
        upload(server.address, "a/b", "1", IMAGE)
        yield server


@pytest.fixture
def store(tmp_path):
    return fake_store(tmp_path)


@pytest.fixture(autouse=True)
def credentials(tmp_path, monkeypatch):
    """Credentials for every host that a test adds to the file."""
    path = tmp_path / "auth.json"
    path.write_text("{}")
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(path))

    def add(host, **extra):
        config = json.loads(path.read_text())
        config.setdefault("auths", {})[host] = {"auth": base64.b64encode(b"ann:secret").decode(), **extra}
        path.write_text(json.dumps(config))

    return add


class Tokens:
    """A token server's and a registry's side of bearer authentication."""

    def __init__(self, valid="good", realm=""):
        self.valid, self.realm, self.asked, self.body = valid, realm, [], None

    def serve(self, request):
        self.asked.append((request.method, dict(request.query), request.headers.get("Authorization")))
        return web.Response(body=self.body or json.dumps({"token": self.valid, "expires_in": 300}).encode())

    def guard(self, request):
        if request.headers.get("Authorization") == f"Bearer {self.valid}":
            return None
        challenge = f'Bearer realm="{self.realm}",service="reg",scope="repository:a/b:pull"'
        return web.Response(status=401, headers={"WWW-Authenticate": challenge})


@pytest.fixture
def bearer(registry):
    tokens = Tokens()
    with (
        Proxy("", guard=tokens.serve) as issuer,
        Proxy(registry.address, guard=tokens.guard) as proxy,
    ):
        tokens.realm = f"http://{issuer.address}/token"
        tokens.proxy = proxy
        yield tokens


def test_a_token_is_bought_once_for_a_pull(bearer, store, credentials):
    credentials(bearer.proxy.address)
    client.pull(store, reference(bearer.proxy.address), config=QUICK)
    (asked,) = bearer.asked
    assert asked == (
        "GET",
        {"service": "reg", "scope": "repository:a/b:pull", "account": "ann"},
        BASIC,
    )
    sent = {authorization for _, _, _, authorization in bearer.proxy.seen}
    assert sent == {None, "Bearer good"}, "the registry gets the token and never the password"


def test_without_credentials_the_token_is_anonymous(bearer, store):
    client.pull(store, reference(bearer.proxy.address), config=QUICK)
    assert bearer.asked == [("GET", {"service": "reg", "scope": "repository:a/b:pull"}, None)]


def test_a_token_that_expires_is_bought_anew(bearer, store):
    def later(request):
        if LAYER in request.path and bearer.valid == "good":
            bearer.valid = "better"
        return Tokens.guard(bearer, request)

    bearer.proxy.guard = later
    client.pull(store, reference(bearer.proxy.address), config=QUICK)
    assert len(bearer.asked) == 2


def test_an_identity_token_is_traded_by_post(bearer, store, credentials):
    credentials(bearer.proxy.address, identitytoken="idtok")
    client.pull(store, reference(bearer.proxy.address), config=QUICK)
    assert bearer.asked[0] == ("POST", {}, None)


def test_a_token_that_is_refused_is_an_error_not_a_loop(bearer, store, credentials):
    credentials(bearer.proxy.address)
    bearer.body = b'{"token": "bad"}'
    with pytest.raises(Denied) as caught:
        client.pull(store, reference(bearer.proxy.address), config=QUICK)
    assert caught.value.hint == f"estiva login {bearer.proxy.address}"
    assert len(bearer.asked) == 1
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "realm",
    [
        "http://tokens.example/token",
        "ftp://tokens.example/",
        "file:///etc/passwd",
        "http://ann:x@127.0.0.1:1/",
        "//tokens.example/",
        "",
        "http://127.0.0.1.tokens.example/",
    ],
)
def test_credentials_do_not_go_to_such_a_realm(bearer, store, credentials, realm):
    credentials(bearer.proxy.address)
    bearer.realm = realm
    with pytest.raises(Denied):
        client.pull(store, reference(bearer.proxy.address), config=QUICK)
    assert bearer.asked == []


@pytest.mark.parametrize("body", [b"x" * 100_000, b"[]", b'{"token": "a\\r\\nX: y"}', b'{"token": 7}', b"{"])
def test_a_token_server_that_talks_nonsense(bearer, store, body):
    bearer.body = body
    with pytest.raises((Unavailable, IntegrityError)):
        client.pull(store, reference(bearer.proxy.address), config=QUICK)


def basic_guard(request):
    if request.headers.get("Authorization") == BASIC:
        return None
    return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})


@pytest.mark.parametrize("what", ["/blobs/", "/manifests/"])
def test_a_redirect_to_another_host_goes_without_credentials(registry, store, credentials, what):
    path = f"/v2/a/b/blobs/{LAYER}" if what == "/blobs/" else f"/v2/a/b/manifests/{IMAGE.digest}"
    with Proxy(registry.address) as elsewhere:
        fault = Fault(LAYER if what == "/blobs/" else what, "redirect", f"http://{elsewhere.address}{path}")
        with Proxy(registry.address, [fault], guard=basic_guard) as proxy:
            credentials(proxy.address)
            credentials(elsewhere.address)
            client.pull(store, reference(proxy.address), config=QUICK)
        assert [seen[3] for seen in elsewhere.seen] == [None]


def test_a_challenge_of_another_host_is_not_answered(registry, store, credentials):
    with Proxy(registry.address, guard=basic_guard) as elsewhere:
        fault = Fault(LAYER, "redirect", f"http://{elsewhere.address}/v2/a/b/blobs/{LAYER}", times=9)
        with Proxy(registry.address, [fault], guard=basic_guard) as proxy:
            credentials(proxy.address)
            with pytest.raises(Denied):
                client.pull(store, reference(proxy.address), config=QUICK)
        assert {seen[3] for seen in elsewhere.seen} == {None}


def test_a_detour_over_another_host_does_not_bring_the_credentials_back(registry, store, credentials):
    with Proxy("") as elsewhere, Proxy(registry.address, guard=basic_guard) as proxy:
        credentials(proxy.address)
        back = f"http://{proxy.address}/v2/a/b/blobs/{LAYER}"
        elsewhere.faults.append(Fault("/x", "redirect", back, times=9))
        proxy.faults.append(Fault(LAYER, "redirect", f"http://{elsewhere.address}/x"))
        with pytest.raises(Denied):
            client.pull(store, reference(proxy.address), config=Settings(attempts=1))


@pytest.mark.parametrize(
    "target", ["http://other.example/x", "ftp://127.0.0.1/x", "file:///etc/passwd", "http://u:p@127.0.0.1/"]
)
def test_redirects_to_where_nothing_may_be_sent(registry, store, target):
    with (
        Proxy(registry.address, [Fault(LAYER, "redirect", target)]) as proxy,
        pytest.raises(Denied, match="redirects"),
    ):
        client.pull(store, reference(proxy.address), config=QUICK)


def test_redirects_have_an_end(registry, store):
    with Proxy(registry.address, [Fault(LAYER, "redirect", f"/v2/a/b/blobs/{LAYER}", times=99)]) as proxy:
        with pytest.raises(Unavailable, match="redirects more than 5 times"):
            client.pull(store, reference(proxy.address), config=QUICK)
        assert len(proxy.ranges(LAYER)) == 6


def test_an_upload_place_on_another_host_gets_no_credentials(registry, store, credentials):
    image = fill(store, IMAGE)
    with Proxy(registry.address) as elsewhere:

        def guard(request):
            refused = basic_guard(request)
            if refused is None and request.method == "POST":
                place = f"http://{elsewhere.address}/v2/a/b/blobs/uploads/"
                return web.Response(status=202, headers={"Location": place + "x"})
            return refused

        with Proxy(registry.address, guard=guard) as proxy:
            credentials(proxy.address)
            credentials(elsewhere.address)
            with pytest.raises(EstivaError):
                client.push(store, image, reference(proxy.address, "new"), config=QUICK)
        assert elsewhere.seen and {seen[3] for seen in elsewhere.seen} == {None}


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tls")
    certificate, key = f"{directory}/cert.pem", f"{directory}/key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        + ["-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost"]
        + ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context, certificate


def test_https_on_loopback_is_found_and_verified(registry, store, tls):
    context, certificate = tls
    trusting = replace(QUICK, authority=certificate)
    with Proxy(registry.address, tls=context) as proxy:
        assert client.pull(store, reference(proxy.address), config=trusting).id == sha256(IMAGE.config)
        with pytest.raises(Unavailable, match="certificate .* is not trusted"):
            client.pull(store, reference(proxy.address, tag="2"), config=QUICK)


def test_from_https_nothing_leads_to_http(registry, store, tls, credentials):
    context, certificate = tls
    trusting = replace(QUICK, authority=certificate)
    with (
        Proxy(registry.address) as plain,
        Proxy(registry.address, tls=context) as proxy,
    ):
        credentials(proxy.address)
        proxy.faults.append(Fault(LAYER, "redirect", f"http://{plain.address}/v2/a/b/blobs/{LAYER}", times=9))
        with pytest.raises(Denied, match="plain http"):
            client.pull(store, reference(proxy.address), config=trusting)
        tokens = Tokens(realm=f"http://{plain.address}/token")
        proxy.guard = tokens.guard
        with pytest.raises(Denied, match="without https"):
            client.pull(store, reference(proxy.address), config=trusting)
        assert plain.seen == []


def test_other_hosts_are_https_whatever_they_speak(monkeypatch):
    async def base(host, **settings):
        async with Transport(Settings(**settings)) as transport:
            return str(await transport._base(host))

    assert asyncio.run(base("registry.example:5000")) == "https://registry.example:5000"
    assert asyncio.run(base("10.0.0.1:80")) == "https://10.0.0.1:80"
    assert asyncio.run(base("docker.io")) == "https://registry-1.docker.io"
    named = frozenset({"registry.example:5000"})
    assert asyncio.run(base("registry.example:5000", plain_http=named)) == "http://registry.example:5000"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("127.0.0.1.example.com", False),
        ("localhost.example.com", False),
        ("127.1", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
    ],
)
def test_what_loopback_is(host, loopback):
    assert is_loopback(host) is loopback


def serving(body, kind=OCI_MANIFEST, **headers):
    """A registry whose every manifest is `body`."""
    return Proxy(
        "", [Fault("/manifests/", "answer_with", body, times=99, headers={"Content-Type": kind, **headers})]
    )


def change(**fields):
    return json.dumps(json.loads(IMAGE.manifest) | fields).encode()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (change(manifests=[]), OCI_MANIFEST),
        (change(), OCI_INDEX),
        (change(mediaType=OCI_INDEX), OCI_MANIFEST),
        (IMAGE.manifest[:-1] + b',"layers":[]}', OCI_MANIFEST),
        (IMAGE.manifest.replace(b"sha256:", b"SHA256:"), OCI_MANIFEST),
        (change(layers=[]), OCI_MANIFEST),
        (
            change(
                config={"mediaType": "application/vnd.oci.image.config.v1+json", "digest": LAYER, "size": -1}
            ),
            "",
        ),
        (b"[" * 100_000, OCI_MANIFEST),
        (b" " * (5 << 20), OCI_MANIFEST),
        (b"", OCI_MANIFEST),
    ],
)
def test_manifests_with_two_readings_are_refused(registry, store, body, kind):
    with serving(body, kind) as proxy:
        proxy.upstream = registry.address
        with pytest.raises((IntegrityError, InvalidInput)):
            client.pull(store, reference(proxy.address), config=QUICK)
    assert store.images.list() == []


def test_a_manifest_is_what_its_digest_says(registry, store):
    another = sha256(b"another")
    with (
        serving(IMAGE.manifest, **{"Docker-Content-Digest": another}) as proxy,
        pytest.raises(IntegrityError, match=another),
    ):
        client.pull(store, reference(proxy.address), config=QUICK)
    with serving(sample(9).manifest) as proxy:
        wanted = Reference.parse(f"{proxy.address}/a/b@{IMAGE.digest}")
        with pytest.raises(IntegrityError, match=IMAGE.digest):
            client.pull(store, wanted, config=QUICK)


def test_an_index_that_points_at_itself_ends(store):
    entry = {"mediaType": OCI_INDEX, "digest": sha256(b"x"), "size": 1}
    body = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}).encode()
    with serving(body, OCI_INDEX) as proxy, pytest.raises(EstivaError):
        client.pull(store, reference(proxy.address), config=QUICK)


def test_an_endless_layer_is_cut_off(registry, store):
    with (
        Proxy(registry.address, [Fault(LAYER, "longer", 1 << 20, times=99)]) as proxy,
        pytest.raises(IntegrityError),
    ):
        client.pull(store, reference(proxy.address), config=QUICK)
    assert not [name for name in os.listdir(store.paths.ingest) if LAYER in name]


def test_headers_have_a_bound(registry, store):
    def guard(request):
        return web.Response(headers={"X-Long": "x" * 100_000})

    with Proxy(registry.address, guard=guard) as proxy, pytest.raises(EstivaError) as caught:
        client.pull(store, reference(proxy.address), config=QUICK)
    assert "\n" not in str(caught.value)


def test_a_registry_that_says_nothing_ends_in_time(registry, store):
    with Proxy(registry.address, [Fault("/manifests/", "silent", times=99)]) as proxy:
        with pytest.raises(Unavailable, match="does not answer in time"):
            client.pull(store, reference(proxy.address), config=replace(QUICK, stall=0.2))
        assert len([path for _, path, _, _ in proxy.seen if "/manifests/" in path]) <= QUICK.attempts


def test_what_a_registry_says_is_shown_on_one_clean_line(registry, store):
    body = json.dumps({"errors": [{"code": "X", "message": "a\n\x1b[31mb" + "c" * 9999}]}).encode()

    def guard(request):
        return web.Response(status=403, body=body) if "/manifests/" in request.path else None

    with Proxy(registry.address, guard=guard) as proxy, pytest.raises(Denied) as caught:
        client.pull(store, reference(proxy.address), config=QUICK)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500


def test_netrc_is_not_read(registry, store, tmp_path, monkeypatch):
    with Proxy(registry.address, guard=basic_guard) as proxy:
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ann password secret\n")
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
        with pytest.raises(Denied):
            client.pull(store, reference(proxy.address), config=QUICK)
        assert {seen[3] for seen in proxy.seen} == {None}


def test_the_password_is_not_in_an_error(registry, store, credentials):
    with Proxy(registry.address, guard=lambda request: web.Response(status=401)) as proxy:
        credentials(proxy.address)
        with pytest.raises(Denied) as caught:
            client.pull(store, reference(proxy.address), config=QUICK)
    assert "secret" not in repr(caught.value) + str(caught.value.__cause__)
    assert credential_files.lookup(proxy.address).password == "secret"
