"""htpasswd files as the Apache tools write them."""

from __future__ import annotations

import bcrypt
import pytest

from estiva.errors import InvalidInput, Unsupported
from estiva.registry.server.auth.htpasswd import Htpasswd, apr1


def hashed(password):
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


def test_apr1_as_openssl_makes_it():
    assert apr1(b"secret", "abcdefgh") == "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/"
    assert apr1(b"a much longer passphrase than sixteen", "xy") == "$apr1$xy$th566Cn3BYbZP2e/0h2QS/"


def test_htpasswd_files(tmp_path):
    path = tmp_path / "users"
    path.write_text(f"# users\n\nann:{apr1(b'pw', 'salt')}\nbob:{{SHA}}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n")
    users = Htpasswd(str(path))
    for _ in range(2):
        assert users.accepts("ann", "pw")
        assert users.accepts("bob", "password")
    for user, password in (("ann", ""), ("x", "pw"), ("ann", "pw2"), ("", "")):
        assert not users.accepts(user, password)
    path.write_text("eve:$2y$05$abc\n")
    with pytest.raises(InvalidInput, match="line 1"):
        Htpasswd(str(path))
    path.write_text("eve:$6$salt$hash\n")
    with pytest.raises(Unsupported, match="line 1"):
        Htpasswd(str(path))


def test_bcrypt_and_a_file_that_changes(tmp_path):
    path = tmp_path / "users"
    path.write_text(f"ann:{hashed('one')}\nold:{hashed('o').replace('$2b$', '$2y$')}\n")
    users = Htpasswd(str(path))
    assert users.accepts("ann", "one") and users.accepts("ann", "one") and users.accepts("old", "o")
    assert not users.accepts("ann", "two") and not users.accepts("eve", "one")
    path.write_text(f"ann:{hashed('two')}\n# longer now\n")
    assert users.accepts("ann", "two") and not users.accepts("ann", "one") and not users.accepts("old", "o")
    path.write_text("broken")
    assert users.accepts("ann", "two"), "a file that can't be read changes nothing"
    path.write_text(f"ann:{apr1(b'three', 'salt')}\nx:$2y$31$" + "a" * 53)
    with pytest.raises(InvalidInput, match="cost 4 to"):
        Htpasswd(str(path))
