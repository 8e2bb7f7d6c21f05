"""Every field of Config and HostConfig with values of wrong types and out of range, given to the engine as an
API server hands them on: a clear InvalidInput, or a container's record and OCI config that can be made.
"""

import copy

import pytest

from estiva import fastjson
from estiva.engine.spec import endpoints, fields, judge, mounts, oci_config, ports, security_opt, userns
from estiva.engine.state import record
from estiva.errors import EstivaError, InvalidInput, Unsupported
from estiva.oci.rules import EACH, EACH_SAID, NUMBERS, ONLY, Later, check

ENDLESS = "9" * 5000
WRONG = [
    "text", "", "-1", "a\0b", "\ud800", "\udcff", "a\nb\x1b[2J", ENDLESS, "=", ":", "/", "../..", "٣",
    0, 1, -1, 5, -5, 1 << 31, (1 << 63) - 1, -(1 << 63), 1 << 63, 1 << 64, 10**5000, -(10**5000),
    1.5, float("nan"), float("inf"), True, False, None, b"bytes",
    [], [None], [5], ["text"], [""], ["a\0b"], ["\ud800"], [[]], [["text"]], [{}], [{"a": 1}], ["text"] * 3, ("text",),
    {}, {"k": None}, {"k": 5}, {"k": "text"}, {"k": ["text"]}, {"k": {}}, {"": ""}, {5: "x"}, {"a\0": "x"},
    {"\ud800": {}}, {"k": {"k": {"k": []}}}, {ENDLESS: {}}, object(),
]  # fmt: skip
IMAGE = {"config": {"Cmd": ["true"], "Env": ["PATH=/bin"], "ExposedPorts": {"80/tcp": {}}, "Volumes": None}}


def make(config, host):
    """All that is made of a Config and HostConfig without an engine."""
    config, host = copy.deepcopy(config), copy.deepcopy(host)
    judge.check(config, host)
    if host.get("NetworkMode") in (None, "", "default"):
        host["NetworkMode"] = "bridge"
    if oci_config.special(host):
        userns.settle(config, host)
    merged = record.merge(config, IMAGE)
    made = record.new("f" * 64, "name", None, merged, host, mounts.wanted(merged, host))
    oci_config.make(made, [], {})
    ports.wanted(merged, host)
    security_opt.profile(security_opt.security_options(host)[0])
    record.complete(made)
    assert fastjson.loads(fastjson.dumps(made)) == made


def of_its_type(value, rule):
    try:
        check(value, rule, "it")
    except EstivaError:
        return False
    return True


def attempt(config, host, value, rule, field):
    """Accepted, or refused in one short line; with InvalidInput that names the field if of a wrong type."""
    try:
        make(config, host)
    except EstivaError as error:
        assert error.message.isprintable() and len(error.message) < 1000, error.message
        if not of_its_type(value, rule):
            assert isinstance(error, (InvalidInput, Unsupported)), error
            assert error.message.startswith(field), error.message
    else:
        assert value is None or of_its_type(value, rule)


TABLES = [
    (part, name.rstrip("!"), rule)
    for part, table in (("Config", fields.CONFIG), ("HostConfig", fields.HOST))
    for name, rule in table.items()
    if name != ONLY
]


@pytest.mark.parametrize(("part", "name", "rule"), TABLES, ids=[f"{row[0]}.{row[1]}" for row in TABLES])
def test_a_field_with_anything_in_it(part, name, rule):
    for value in WRONG:
        config, host = {"Image": "box", "Cmd": ["true"]}, {}
        (config if part == "Config" else host)[name] = value
        attempt(config, host, value, rule, f"{part}.{name}")


def sample(rule):
    """The least that follows a rule."""
    if isinstance(rule, Later):
        return sample(rule.rule)
    if isinstance(rule, list):
        return [sample(rule[0])]
    if isinstance(rule, dict):
        for each in (EACH, EACH_SAID):
            if each in rule:
                return {"80/tcp": sample(rule[each])}
        return {name[:-1]: sample(inner) for name, inner in rule.items() if name.endswith("!")}
    return {"bool": False, "string": "bind", "absolute": "/dev/null"}.get(rule, 0)


def inside(rule, path=()):
    """(path, rule) of all that is inside a rule's value."""
    rule = rule.rule if isinstance(rule, Later) else rule
    if isinstance(rule, list):
        steps = [(0, rule[0])]
    elif isinstance(rule, dict):
        steps = [
            ("80/tcp" if name in (EACH, EACH_SAID) else name.rstrip("!"), inner)
            for name, inner in rule.items()
            if name != ONLY
        ]
    else:
        steps = []
    for step, inner in steps:
        yield (*path, step), inner
        yield from inside(inner, (*path, step))


NESTED = [(part, name, path, top) for part, name, top in TABLES for path, _ in inside(top)]


@pytest.mark.parametrize(
    ("part", "name", "path", "top"), NESTED, ids=[f"{row[1]}.{'.'.join(map(str, row[2]))}" for row in NESTED]
)  # fmt: skip
def test_a_field_inside_with_anything_in_it(part, name, path, top):
    for value in WRONG:
        whole = sample(top)
        at, within = whole, top
        for step in path[:-1]:
            within = (
                within[0]
                if isinstance(within, list)
                else within.get(step, within.get(f"{step}!", within.get(EACH)))
            )
            if isinstance(at, dict) and step not in at:
                at[step] = sample(within)
            at = at[step]
        if isinstance(at, list):
            at[:] = [value]
        else:
            at[path[-1]] = value
        config, host = {"Image": "box", "Cmd": ["true"]}, {}
        (config if part == "Config" else host)[name] = whole
        attempt(config, host, whole, top, f"{part}.{name}")


def test_both_are_objects():
    for value in (None, [], "x", 5):
        with pytest.raises(InvalidInput, match="^Config: .* is not an object$"):
            judge.check(value, {})
        with pytest.raises(InvalidInput, match="^HostConfig: .* is not an object$"):
            judge.check({"Image": "x"}, value)
        with pytest.raises(InvalidInput, match="^HostConfig: .* is not an object$"):
            judge.check_update(value)


@pytest.mark.parametrize("name", [name for name, rule in fields.HOST.items() if str(rule) in NUMBERS])
def test_an_update_with_anything_in_it(name):
    for value in WRONG:
        try:
            judge.check_update({name: value})
        except (InvalidInput, Unsupported) as error:
            assert error.message.startswith(f"HostConfig.{name}")
        else:
            assert value is None or of_its_type(value, fields.HOST[name])


def test_what_is_unknown_may_only_be_empty():
    for empty in (None, "", 0, False, [], {}):
        judge.check({"Image": "x", "New": empty}, {"New": empty})
    for given in ("x", 1, True, [0], {"a": 0}):
        with pytest.raises(Unsupported, match=r"^HostConfig\.New is not supported$"):
            judge.check({"Image": "x"}, {"New": given})
        with pytest.raises(Unsupported, match=r"^Config\.New is not supported$"):
            judge.check({"Image": "x", "New": given}, {})
    with pytest.raises(InvalidInput, match="^HostConfig: the name 5 is not a string$"):
        judge.check({"Image": "x"}, {5: "x"})


def test_names_in_errors_are_one_line_and_bounded():
    evil = "a\n\x1b[31mb" + "x" * 3000
    for judged in (
        lambda: judge.uts_name("hostname", evil),
        lambda: endpoints._name("alias", evil),
    ):
        with pytest.raises(InvalidInput) as caught:
            judged()
        assert caught.value.message.isprintable() and len(caught.value.message) < 200
