import hashlib

import pytest

from estiva.errors import InvalidInput
from estiva.oci import digest

GOOD = "sha256:" + "a1" * 32


def test_splits_a_digest():
    assert digest.parse(GOOD) == ("sha256", "a1" * 32)
    assert digest.parse("sha512:" + "0f" * 64) == ("sha512", "0f" * 64)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256",
        "sha256:",
        "sha256:" + "A1" * 32,
        "SHA256:" + "a1" * 32,
        "sha256:" + "a1" * 31,
        "sha256:" + "a1" * 33,
        "sha512:" + "a1" * 32,
        "md5:" + "a1" * 16,
        "sha256:" + "../" * 21 + "a",
        " " + GOOD,
        GOOD + "\n",
        "sha256:" + "١" * 64,
    ],
)
def test_refuses_what_is_not_canonical(text):
    assert not digest.valid(text)
    with pytest.raises(InvalidInput):
        digest.parse(text)


def test_sha256_of_bytes():
    assert digest.sha256(b"x") == "sha256:" + hashlib.sha256(b"x").hexdigest()
    assert digest.valid(digest.sha256(b""))


def test_short_and_hex():
    assert digest.short(GOOD) == "a1" * 6
    assert digest.is_hex("0a") and not digest.is_hex("0A") and not digest.is_hex("")
