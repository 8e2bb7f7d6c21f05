"""Basic, tokens of the registry server and of an issuer, by plain HTTP requests."""

from __future__ import annotations

import asyncio
import base64
import json
import time

import bcrypt
import pytest

from estiva.errors import EstivaError, InvalidInput
from estiva.registry import client
from estiva.registry.server import config as server_config
from estiva.registry.server.auth import bearer
from estiva.registry.server.server import listening
from registry_support import (
    QUICK,
    Server,
    ask,
    fake_store,
    fill,
    reference,
    sample,
    sha256,
)

IMAGE = sample(7, sizes=(500,))
RULES = """
[[rule]]
repository = ["team/**", "scratch"]
users = ["ann", "ci-*"]
allow = ["pull", "push"]

[[rule]]
repository = "team/**"
users = "boss"
allow = ["pull", "push", "delete"]

[[rule]]
repository = "**"
users = "*"

[[rule]]
repository = "public/*"
users = "anonymous"
"""


def basic(user, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def hashed(password):
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


@pytest.fixture
def write(tmp_path):
    def made(text):
        (tmp_path / "users").write_text(
            "".join(f"{user}:{hashed('pw-' + user)}\n" for user in ("ann", "ci-7", "boss", "eve"))
        )
        (tmp_path / "registry.toml").write_text(text)
        return server_config.load(str(tmp_path / "registry.toml"))

    return made


def test_basic_with_rules(tmp_path, write):
    config = write("htpasswd = 'users'\n" + RULES)
    with Server(tmp_path / "registry", config=config) as server:

        def status(method, path, who=None, body=b""):
            headers = basic(who, f"pw-{who}") if who else {}
            return ask(server.address, method, path, body, headers)[0]

        assert status("GET", "/v2/") == 401
        assert status("GET", "/v2/", "eve") == 200
        assert status("POST", "/v2/team/web/blobs/uploads/", "eve") == 403
        assert status("POST", "/v2/team/web/blobs/uploads/", "ann") == 202
        assert status("POST", "/v2/other/blobs/uploads/", "ann") == 403
        assert status("DELETE", f"/v2/team/web/manifests/{IMAGE.digest}", "ann") == 403
        assert status("DELETE", f"/v2/team/web/manifests/{IMAGE.digest}", "boss") == 404
        assert status("GET", "/v2/public/x/manifests/1") == 404, "anyone may look"
        assert status("GET", "/v2/team/web/manifests/1") == 401
        assert status("POST", "/v2/public/x/blobs/uploads/") == 401
        assert ask(server.address, "GET", "/v2/", headers=basic("eve", "wrong"))[0] == 401
        assert status("GET", "/metrics") == 401 and status("GET", "/metrics", "eve") == 200
        assert status("GET", "/healthz") == 200


def test_a_blob_is_not_mounted_from_where_one_may_not_pull(tmp_path, write):
    rules = "htpasswd='users'\n" + "".join(
        f"[[rule]]\nrepository='{name}'\nusers='{who}'\nallow=['pull','push']\n"
        for name, who in (("secret", "boss"), ("open", "ann"))
    )
    with Server(tmp_path / "registry", config=write(rules)) as server:
        digest = sha256(b"hidden")
        path = f"/v2/secret/blobs/uploads/?digest={digest}"
        assert ask(server.address, "POST", path, b"hidden", basic("boss", "pw-boss"))[0] == 201
        for query in (f"mount={digest}&from=secret", f"mount={digest}"):
            path = f"/v2/open/blobs/uploads/?{query}"
            assert ask(server.address, "POST", path, b"", basic("ann", "pw-ann"))[0] == 202, query
        names = json.loads(ask(server.address, "GET", "/v2/_catalog", headers=basic("ann", "pw-ann"))[2])
        assert names["repositories"] == []


@pytest.fixture
def issuing(tmp_path, write):
    with Server(tmp_path / "registry", config=write("htpasswd = 'users'\n[token]\n" + RULES)) as server:
        yield server


def token(server, scope, who=None, **more):
    headers = basic(who, f"pw-{who}") if who else {}
    query = "&".join(f"{key}={value}" for key, value in {"service": "estiva", "scope": scope, **more}.items())
    status, _, body = ask(server.address, "GET", f"/token?{query}", headers=headers)
    assert status == 200, body
    return json.loads(body)["token"]


def claims(text):
    part = text.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "localhost", '"x', ""])
def test_nobody_is_sent_elsewhere_for_a_token(issuing, host):
    """What a request calls this server is no word of the server's own: the realm is that of the configuration."""
    sent = {"Host": host, "X-Forwarded-Host": "evil.example"}
    _, headers, _ = ask(issuing.address, "GET", "/v2/", headers=sent)
    assert headers["WWW-Authenticate"] == f'Bearer realm="http://{issuing.address}/token",service="estiva"'


def test_an_address_of_every_interface_is_no_realm(tmp_path, write):
    config = write("htpasswd = 'users'\n[token]\n" + RULES)
    for listen in ("0.0.0.0:0", "[::]:0", ":0"):

        async def serve(listen=listen):
            async with listening(listen, str(tmp_path / "registry"), config=config):
                pass

        with pytest.raises(InvalidInput, match="no address that clients") as raised:
            asyncio.run(serve())
        assert "realm" in raised.value.hint


def test_tokens_give_what_the_rules_give(issuing):
    status, headers, _ = ask(issuing.address, "GET", "/v2/")
    realm = f'Bearer realm="http://{issuing.address}/token",service="estiva"'
    assert (status, headers["WWW-Authenticate"]) == (401, realm)
    got = claims(token(issuing, "repository:team/web:pull,push,delete", "ann"))
    assert got["access"] == [{"type": "repository", "name": "team/web", "actions": ["pull", "push"]}]
    assert claims(token(issuing, "repository:team/web:pull"))["access"] == []
    assert claims(token(issuing, "repository:../x:pull", "ann"))["access"] == []
    pull_only = {"Authorization": "Bearer " + token(issuing, "repository:team/web:pull", "ann")}
    assert ask(issuing.address, "GET", "/v2/team/web/manifests/1", headers=pull_only)[0] == 404
    status, headers, _ = ask(issuing.address, "POST", "/v2/team/web/blobs/uploads/", headers=pull_only)
    assert status == 401 and 'scope="repository:team/web:pull,push"' in headers["WWW-Authenticate"]
    assert 'error="insufficient_scope"' in headers["WWW-Authenticate"]
    assert ask(issuing.address, "GET", "/v2/team/other/manifests/1", headers=pull_only)[0] == 401
    for path, headers in (("/token?service=x", {}), ("/token", basic("ann", "wrong"))):
        assert ask(issuing.address, "GET", path, headers=headers)[0] in (400, 401)
    form = b"grant_type=password&service=estiva&username=ann&password=pw-ann&scope=repository:team/web:push"
    assert claims(json.loads(ask(issuing.address, "POST", "/token", form)[2])["access_token"])["sub"] == "ann"
    assert ask(issuing.address, "POST", "/token", form.replace(b"pw-ann", b"x"))[0] == 401
    assert ask(issuing.address, "POST", "/token", b"x" * 70_000)[0] == 413


def test_a_mount_asks_for_a_token_that_may_read_the_source(issuing):
    both = "repository:team/a:pull,push repository:team/b:pull,push"
    bearer_of = {"Authorization": "Bearer " + token(issuing, both.replace(" ", "%20"), "ann")}
    digest = sha256(b"shared")
    path = f"/v2/team/a/blobs/uploads/?digest={digest}"
    assert ask(issuing.address, "POST", path, b"shared", bearer_of)[0] == 201
    path = f"/v2/team/b/blobs/uploads/?mount={digest}&from=team/a"
    one = {"Authorization": "Bearer " + token(issuing, "repository:team/b:pull,push", "ann")}
    status, headers, _ = ask(issuing.address, "POST", path, b"", one)
    assert status == 401
    assert 'scope="repository:team/b:pull,push repository:team/a:pull"' in headers["WWW-Authenticate"]
    assert ask(issuing.address, "POST", path, b"", bearer_of)[0] == 201


def test_our_client_logs_in_for_a_token(issuing, tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    client.login(issuing.address, "ann", "pw-ann", config=QUICK)
    store = fake_store(tmp_path / "one")
    client.push(store, fill(store, IMAGE), reference(issuing.address, "team/web"), config=QUICK)
    image = client.pull(fake_store(tmp_path / "two"), reference(issuing.address, "team/web"), config=QUICK)
    assert image.id == sha256(IMAGE.config)
    with pytest.raises(EstivaError):
        client.push(store, fill(store, IMAGE), reference(issuing.address, "not/hers"), config=QUICK)


def encode(value):
    data = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_forged_tokens_open_nothing(issuing, tmp_path):
    good = token(issuing, "repository:team/web:pull", "ann")
    head, body, signature = good.split(".")
    more = encode({**claims(good), "sub": "boss"})
    own = bearer.OwnTokens(b"k" * 32, "estiva")
    late = bearer.OwnTokens((tmp_path / "registry/token.key").read_bytes(), "estiva", life=-1)
    other = bearer.OwnTokens((tmp_path / "registry/token.key").read_bytes(), "other")
    allowed = claims(good)["access"]
    forged = [
        f"{head}.{more}.{signature}",
        f"{encode({'alg': 'none'})}.{body}.",
        f"{encode({'alg': 'none'})}.{body}.{signature}",
        own.issue("ann", allowed),
        late.issue("ann", allowed),
        other.issue("ann", allowed),
        "",
        "x",
        "..",
        "é.é.é",
        good + "x" * 20_000,
    ]
    for text in forged:
        header = {"Authorization": f"Bearer {text}".encode()}
        try:
            status = ask(issuing.address, "GET", "/v2/team/web/manifests/1", headers=header)[0]
        except ConnectionError:  # the header is too long for aiohttp
            continue
        assert status in (400, 401), text[:100]
    for raw in (b"\xff.a.b", b"a.b.\xff"):
        header = {"Authorization": b"Bearer " + raw}
        assert ask(issuing.address, "GET", "/v2/team/web/manifests/1", headers=header)[0] == 401, raw
    assert (tmp_path / "registry/token.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", ["RS256", "ES256", "EdDSA"])
def test_tokens_of_an_issuer(tmp_path, write, kind):
    import jwt
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    private = {
        "RS256": lambda: rsa.generate_private_key(65537, 2048),
        "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate,
    }[kind]()
    algorithm = jwt.get_algorithm_by_name(kind)
    public = {**algorithm.to_jwk(private.public_key(), as_dict=True), "kid": "k1", "alg": kind}
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [public]}))
    config = write(
        "[token]\nrealm = 'https://auth.example/token'\nissuer = 'auth.example'\nservice = 'here'\n"
        "jwks = 'keys.json'\n"
    )
    access = [{"type": "repository", "name": "a/b", "actions": ["pull", "push"]}]
    base = {"iss": "auth.example", "aud": "here", "exp": time.time() + 100, "sub": "ann", "access": access}

    def signed(key=private, method=kind, kid="k1", **changes):
        return jwt.encode({**base, **changes}, key, algorithm=method, headers={"kid": kid})

    with Server(tmp_path / "registry", config=config) as server:

        def status(text, path="/v2/a/b/manifests/1"):
            header = {"Authorization": f"Bearer {text}".encode("latin-1")}
            return ask(server.address, "GET", path, headers=header)[0]

        challenge = ask(server.address, "GET", "/v2/")[1]["WWW-Authenticate"]
        assert challenge == 'Bearer realm="https://auth.example/token",service="here"'
        assert status(signed()) == 404 and status(signed(), "/v2/") == 200
        assert status(signed(), "/v2/b/c/manifests/1") == 401
        wrong = [
            signed(iss="other"),
            signed(aud="there"),
            signed(exp=time.time() - 100),
            signed(key=b"k" * 32, method="HS256"),
            jwt.encode(base, None, algorithm="none", headers={"kid": "k1"}),
            signed()[:-8] + "AAAAAAAA",
            "\xff.a.b",
        ]
        assert [status(text) for text in wrong] == [401] * len(wrong)
        assert ask(server.address, "GET", "/token")[0] in (401, 404), "it issues none itself"
