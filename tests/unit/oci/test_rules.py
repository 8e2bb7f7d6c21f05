import pytest

from estiva.errors import InvalidInput, Unsupported
from estiva.oci.rules import EACH, EACH_SAID, ONLY, Choice, Later, Text, check

GOOD = [
    (0, "uint8"),
    (255, "uint8"),
    (-(1 << 63), "int64"),
    ("", "string"),
    ("a\udcffb", "string"),  # a byte that is no UTF-8
    ("/x", "absolute"),
    (True, "bool"),
    ([], ["string"]),
    (["a", "b"], ["string"]),
    ({}, {"a": "bool"}),
    ({"a": None, "b": b"free"}, {"a": "bool"}),
    ({"x": "1", "y": None}, {EACH: "string"}),
    ("b", Choice("a letter", "abc")),
    ("ab", Text("short", lambda text: len(text) < 3)),
]


@pytest.mark.parametrize(("value", "rule"), GOOD, ids=[repr(case[0]) for case in GOOD])
def test_what_follows_its_rule(value, rule):
    check(value, rule, "field")


BAD = [
    (256, "uint8", "field: 256 is not a number from 0 to 255"),
    (True, "uint8", "field: true is not a number"),
    (1.0, "uint8", "field: 1.0 is not a number"),
    (float("nan"), "int64", "field: nan is not a number"),
    ("1", "uint8", 'field: "1" is not a number'),
    (10**5000, "int64", "field: a number beyond 64 bits is not a number"),
    (-(10**5000), "uint64", "field: a number beyond 64 bits is not a number"),
    (1, "bool", "field: 1 is not true or false"),
    (None, "bool", "field: null is not true or false"),
    (1, "string", "field: 1 is not a string"),
    (b"x", "string", "field: b'x' is not a string"),
    ("a\0b", "string", r'field: "a\x00b" is not a string'),
    ("\ud800", "string", r'field: "\ud800" is not a string'),
    ("x", "absolute", 'field: "x" is not an absolute path'),
    ("ab", ["string"], 'field: "ab" is not a list'),
    (("a",), ["string"], "field: ('a',) is not a list"),
    (["a", None], ["string"], "field[1]: null is not a string"),
    ([["a", 1]], [["string"]], "field[0][1]: 1 is not a string"),
    ([], {"a": "bool"}, "field: a list is not an object"),
    ({"a": 1}, {"a": "bool"}, "field.a: 1 is not true or false"),
    ({}, {"a!": "bool"}, "field.a is missing"),
    ({"x": 1}, {EACH: "string"}, 'field["x"]: 1 is not a string'),
    ({"x": None}, {EACH_SAID: "string"}, 'field["x"]: null is not a string'),
    ({1: "x"}, {EACH: "string"}, "field: the name 1 is not a string"),
    ({"a\0": "x"}, {EACH: "string"}, r'field: the name "a\x00" is not a string'),
    ("d", Choice("a letter", "abc"), 'field: "d" is not a letter'),
    (["a"], Choice("a letter", "abc"), "field: a list is not a letter"),
    ("abc", Text("short", lambda text: len(text) < 3), 'field: "abc" is not short'),
    (5, Text("short", lambda text: len(text) < 3), "field: 5 is not short"),
]


@pytest.mark.parametrize(("value", "rule", "message"), BAD, ids=[case[2] for case in BAD])
def test_what_does_not(value, rule, message):
    with pytest.raises(InvalidInput) as caught:
        check(value, rule, "field")
    assert caught.value.message.startswith(message)


def test_what_is_told_is_short():
    for value in ("x" * 10**6, [["y"] * 10**6], 10**5000):
        with pytest.raises(InvalidInput) as caught:
            check(value, "bool", "field")
        assert len(caught.value.message) < 200


def test_an_object_with_no_other_fields():
    rule = {ONLY: None, "a": "bool", "b!": "string"}
    check({"a": None, "b": "x"}, rule, "it")
    for empty in (None, "", 0, [], {}):
        check({"b": "x", "c": empty}, rule, "it")
    with pytest.raises(Unsupported, match=r"^it\.c is not supported$"):
        check({"b": "x", "c": "said"}, rule, "it")
    with pytest.raises(Unsupported, match=r"^it\. is not supported$"):
        check({"b": "x", "": None}, rule, "it")
    with pytest.raises(InvalidInput, match="^it: the name 5 is not a string$"):
        check({"b": "x", 5: None}, rule, "it")
    with pytest.raises(InvalidInput, match=r"^it\.b is missing$"):
        check({"a": True}, rule, "it")


def test_what_can_t_be_done_yet():
    check({"a": None}, {"a": Later(["string"])}, "it")
    check({"a": []}, {"a": Later(["string"])}, "it")
    with pytest.raises(Unsupported, match=r"^it\.a is not supported yet$"):
        check({"a": ["x"]}, {"a": Later(["string"])}, "it")
    with pytest.raises(InvalidInput, match=r'^it\.a: "x" is not a list$'):
        check({"a": "x"}, {"a": Later(["string"])}, "it")
