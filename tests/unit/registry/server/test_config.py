"""The registry server's TOML file."""

from __future__ import annotations

import pytest

from estiva.errors import InvalidInput, NotFound
from estiva.registry.server import config as server_config


@pytest.fixture
def write(tmp_path):
    def made(text):
        (tmp_path / "registry.toml").write_text(text)
        return server_config.load(str(tmp_path / "registry.toml"))

    return made


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("listn = 1", "unknown key 'listn'"),
        ("listen = 5", "listen is not text"),
        ("read-only = 1", "read-only is neither"),
        ("[[rule]]\nrepository = 'a'", "rule 1.users"),
        ("[[rule]]\nrepository = 'A b'\nusers = '*'", "not a pattern"),
        ("[[rule]]\nrepository = 'a'\nusers = '*'\nallow = ['fly']", "'fly'"),
        ("[rule]\nrepository = 'a'", "not a list of tables"),
        ("[[upstream]]\nprefix = 'x'\nregistry = 'https://x'", "no scheme"),
        ("[[upstream]]\nprefix = '../x'\nregistry = 'x.example'", "no prefix"),
        (2 * "[[upstream]]\nprefix = 'x'\nregistry = 'x.example'\n", "one prefix"),
        ("[token]\nrealm = 'x\"y'", "no header can hold"),
        ("[token]\njwks = 'keys.json'", "needs token.realm"),
        ("[storage]\nbucket = 'x'", "no url"),
        ("[gc]\ngrace = -1", "grace is not a number"),
        ("x = [", "not valid toml"),
    ],
)
def test_a_file_that_is_wrong_says_where(write, text, says):
    with pytest.raises(InvalidInput) as caught:
        write(text)
    assert says in str(caught.value) and "registry.toml" in str(caught.value)


def test_a_file_that_says_it_all(write, tmp_path):
    config = write(
        """
        listen = "127.0.0.1:0"
        root = "data"
        htpasswd = "/etc/users"
        tls-cert = "cert.pem"
        tls-key = "key.pem"
        access-log = "-"
        read-only = true
        stop-timeout = 3
        connections = 0
        [[rule]]
        repository = "**"
        users = "*"
        [token]
        life = 1
        [storage]
        url = "s3://bucket/x"
        allow_http = true
        [gc]
        interval = 0
        untagged = true
        [[upstream]]
        prefix = "hub"
        registry = "docker.io"
        auth = "auth.json"
        keep-days = 2
        [[upstream]]
        prefix = "other"
        registry = "[::1]:5000"
        """
    )
    assert (config.listen, config.root, config.htpasswd) == (
        "127.0.0.1:0",
        str(tmp_path / "data"),
        "/etc/users",
    )
    assert (config.tls_cert, config.tls_key) == (str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))
    assert (config.access_log, config.read_only, config.stop_timeout, config.connections) == (
        "-",
        True,
        3.0,
        1,
    )
    assert len(config.rules) == 1
    assert config.tokens is not None and config.tokens.life == 60 and config.tokens.service == "estiva"
    assert config.storage == {"url": "s3://bucket/x", "allow_http": "true"}
    assert (config.gc.interval, config.gc.untagged) == (0.0, True)
    assert config.upstreams[0].auth == str(tmp_path / "auth.json")
    assert config.keep == {"hub": 2 * 86400.0}


def test_an_empty_file_changes_nothing(write):
    assert write("") == server_config.Config()


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(NotFound, match="no such file"):
        server_config.load(str(tmp_path / "none.toml"))
    with pytest.raises(InvalidInput, match="can't read"):
        server_config.load(str(tmp_path))
