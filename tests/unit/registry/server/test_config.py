"""The registry server's TOML file."""

from __future__ import annotations

import pytest

from estiva.errors import InvalidInput
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
