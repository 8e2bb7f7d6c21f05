"""Errors that go from a monitor to who started it."""

import pytest

from estiva import errors, fastjson
from estiva.engine.monitor.protocol import decode_error, encode_error


@pytest.mark.parametrize(
    "error",
    [
        errors.Conflict("in use", hint="stop it"),
        errors.CommandNotFound("no such command"),
        errors.Missing("container", "web", hint="`estiva ps`"),
        errors.NameTaken("the name web is taken", "web", "abc", hint="rename it"),
        errors.PortTaken("port 80"),
    ],
)
def test_an_error_is_what_it_was_on_the_other_side(error):
    there = decode_error(fastjson.loads(encode_error(error)))
    assert type(there) is type(error)
    assert vars(there) == vars(error)


def test_what_nobody_foresaw_is_an_internal_error():
    there = decode_error(fastjson.loads(encode_error(ValueError("x"))))
    assert (type(there), there.message) == (errors.EngineError, "internal error: ValueError: x")
    assert type(decode_error({"kind": "NoSuchKind", "message": "x"})) is errors.EngineError
