"""Bake files that are wrong, or hostile: one line that names file and block, and an end in bounded time."""

import sys

import pytest

from estiva.engine.bake import files, merge
from estiva.engine.bake.plan import plan
from estiva.errors import EstivaError, Unsupported


def planned(text, name="docker-bake.hcl", sets=(), targets=(), **environment):
    config, _ = files.load([(name, text)], environment)
    return plan(config, list(targets), merge.overrides(list(sets), config))


def target(value):
    return f'target "default" {{\n args = {{ x = {value} }}\n}}\n'


def chain(first, each, count=60):
    lines = [f'variable "v0" {{\n default = {first}\n}}']
    lines += [f'variable "v{i}" {{\n default = {each.replace("@", f"v{i - 1}")}\n}}' for i in range(1, count)]
    return "\n".join(lines) + "\n" + target(f"jsonencode(v{count - 1})")


BAD = {
    "unknown variable": (target('"${ZZZ}"'), "docker-bake.hcl:2: there is no variable named ZZZ"),
    "unknown function": (target("nofn(1)"), "docker-bake.hcl:2: there is no function named nofn"),
    "refused function": (target('bcrypt("x")'), "docker-bake.hcl:2: the function bcrypt is not supported in a bake file"),
    "syntax": ('target "a" {\n x = = 1\n}', "docker-bake.hcl:2: this is not valid HCL: unexpected '= 1'"),
    "kind": ('target "default" {\n tags = "x"\n}', "docker-bake.hcl:2: target default: tags: list of string required"),
    "null": (
        'target "default" {\n tags = ["${null}"]\n}',
        "docker-bake.hcl:2: target default: tags: null value is not allowed",
    ),
    "name": ('target "A.b" {}', 'docker-bake.hcl:1: target A.b: invalid name; only "[a-zA-Z0-9_-]+" are allowed'),
    "name without matrix": ('target "a" {\n name = "x"\n}', "docker-bake.hcl:1: target a: name requires matrix"),
    "same name": (
        'target "a" {\n name = "x"\n matrix = { v = ["1", "2"] }\n}',
        'docker-bake.hcl:1: target a: duplicate name "x"',
    ),
    "variables in a cycle": (
        'variable "X" {\n default = Y\n}\nvariable "Y" {\n default = X\n}',
        "docker-bake.hcl:1: variable X: variable cycle not allowed for X",
    ),
    "targets in a cycle": (
        'target "default" {\n contexts = { a = "target:b" }\n}\ntarget "b" {\n contexts = { a = "target:default" }\n}',
        "infinite loop from b to default",
    ),
    "attributes in a cycle": (
        target("target.default.args"),
        "docker-bake.hcl:2: cycle not allowed for target.default.args",
    ),
    "group in itself": ('group "default" {\n targets = ["default"]\n}', "failed to find target default"),
    "division": (target("1 / 0"), "docker-bake.hcl:2: division by zero"),
    "validation": (
        'variable "X" {\n default = "a"\n validation {\n condition = X == "b"\n error_message = "X must be b"\n }\n}',
        "docker-bake.hcl:3: variable X: X must be b",
    ),
    "directive": (target('"%{if true}x%{endif}"'), "docker-bake.hcl:2: %{...} in a template is not supported"),
    "doubling lists": (chain('["x"]', "[@, @]"), "docker-bake.hcl:53: this bake file asks for too much work"),
    "doubling texts": (chain('"xxxx"', '"${@}${@}"'), "docker-bake.hcl:59: a text would be longer than 1048576 characters"),
    "doubling numbers": (chain("10", "@ * @"), "docker-bake.hcl:35: a number is too large"),
    "multiplied": (chain("10", "multiply(@, @)"), "docker-bake.hcl:35: a number is too large"),
    "exponent": (target("1e999999999"), "docker-bake.hcl:2: 1e999999999 is not a number"),
    "power": (target("pow(10, 100000)"), "docker-bake.hcl:2: pow: the number would be too large"),
    "range": (target("range(1e9)"), "docker-bake.hcl:2: range: more than 1024 values"),
    "indent": (target('indent(1000000000, "a\\nb")'), "docker-bake.hcl:2: a text would be longer than 1048576 characters"),
    "recursion": (
        'function "f" {\n params = [a]\n result = f(a)\n}\n' + target("f(1)"),
        "docker-bake.hcl:3: functions call each other more than 40 deep",
    ),
    "forking": (
        'function "f" {\n params = [a]\n result = a > 30 ? 1 : f(a + 1) + f(a + 1)\n}\n' + target("f(1)"),
        "docker-bake.hcl:3: this bake file asks for too much work",
    ),
    "brackets": (target("[" * 5000 + "]" * 5000), "docker-bake.hcl: brackets are nested more than 100 deep"),
    "matrix": (
        'target "a" {\n name = "${i}-${j}-${k}"\n matrix = { i = range(1000), j = range(1000), k = range(1000) }\n}',
        "docker-bake.hcl:1: target a: the matrix has 1000000000 targets, of 1000 at most",
    ),
    "backtracking": (
        target('regex_replace("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", "(a+)+$", "x")'),
        "docker-bake.hcl:2: regex_replace: a pattern has at most 2 repeats here, and none of a group",
    ),
    "optional letters": (
        target(f'regex("{"a?" * 100}{"a" * 100}", "{"a" * 100}")'),
        "docker-bake.hcl:2: regex: a pattern has at most 8 choices here",
    ),
    "groups": (
        "\n".join(f'group "g{i}" {{\n targets = ["g{i + 1}"]\n}}' for i in range(300))
        + '\ngroup "default" {\n targets = ["g0"]\n}',
        "group g100: more than 100 groups are in each other",
    ),
    "environment": ('variable "N" {\n default = 5\n}', "docker-bake.hcl:1: variable N: the environment's N: 'zz' is not a number"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_told_in_one_line(name):
    text, message = BAD[name]
    with pytest.raises(EstivaError) as caught:
        planned(text, N="zz")
    assert caught.value.message == message


COMPOSE = {
    "bomb": (
        'a: &a ["x","x","x","x","x","x","x","x","x"]\n'
        + "\n".join(f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]" for i in range(9)),
        "compose.yaml:1: there is too much in this file",
    ),
    "recursive": ("a: &a [*a]", "compose.yaml:1: there is too much in this file"),
    "deep": ("a: " + "[" * 3000 + "]" * 3000, "compose.yaml: this is nested too deep"),
    "required": (
        "services:\n  a:\n    build: ${A:?say A}",
        "compose.yaml:3: required variable A: say A",
    ),
    "extends": ("services: {a: {extends: b}}", "compose.yaml: service a: extends is not supported"),
    "privileged": (
        "services: {a: {build: {privileged: true}}}",
        "compose.yaml: service a: build: privileged is not supported",
    ),
    "x-bake": (
        "services: {a: {build: {x-bake: {foo: 1}}}}",
        "compose.yaml: service a: x-bake: foo is unknown",
    ),
    "secret": (
        "services: {a: {build: {secrets: [x]}}}",
        "compose.yaml: service a: build: the secret x is not among secrets",
    ),
    "tab": (
        "a:\n\t- b",
        "compose.yaml:2: this is not valid YAML: found character '\\t' that cannot start any token",
    ),
}


@pytest.mark.parametrize("name", COMPOSE)
def test_a_bad_compose_file_is_told_in_one_line(name):
    text, message = COMPOSE[name]
    with pytest.raises(EstivaError) as caught:
        planned(text, "compose.yaml")
    assert caught.value.message == message


def test_a_tag_of_yaml_makes_no_object(tmp_path):
    mark = tmp_path / "made"
    with pytest.raises(EstivaError):
        planned(f'services: {{a: {{image: !!python/object/apply:os.mkdir ["{mark}"]}}}}', "compose.yaml")
    assert not mark.exists()


def test_what_targets_inherit_does_not_grow_with_each_step():
    text = "\n".join(
        f'target "{kind}{i}" {{\n inherits = ["t{i + 1}", "u{i + 1}"]\n annotations = ["{kind}"]\n}}'
        for i in range(60)
        for kind in "tu"
    )
    made = planned(text + '\ntarget "t60" {}\ntarget "u60" {}', targets=["t0"])
    assert sorted(made.targets["t0"]["annotations"]) == ["t", "u"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("default", "invalid override key default, expected target.name"),
        ("default.tags", "invalid override default.tags, expected target.name=value"),
        ("default.x=1", "unknown key: x"),
        ("z*.tags=1", "could not find any target matching 'z*'"),
        ("default.args=1", "invalid key default.args, args requires name"),
        ("default.context+=1", "invalid key default.context+, context does not support append"),
        ("default.pull=x", "invalid value x for boolean key pull"),
    ],
)
def test_a_bad_override(word, message):
    with pytest.raises(EstivaError) as caught:
        planned('target "default" {}', sets=[word])
    assert caught.value.message == message


def test_an_override_adds():
    made = planned('target "default" {\n tags = ["a"]\n}', sets=["*.tags+=b", "def*.platform=linux/arm64"])
    assert made.targets["default"]["tags"] == ["a", "b"]
    assert made.targets["default"]["platforms"] == ["linux/arm64"]


def test_a_push_reaches_a_target_that_is_loaded():
    made = planned('target "default" {\n output = ["type=docker"]\n}', sets=["*.push=true", "*.load=true"])
    assert made.targets["default"]["output"] == ["type=image,push=true", "type=docker"]


def test_what_a_build_section_says_beyond_buildx_0_13():
    text = """
services:
  a:
    build:
      context: .
      ssh: [default]
      network: none
      extra_hosts: ["h=1.2.3.4", "i:5.6.7.8"]
      no_cache: true
      pull: true
      ulimits: {nproc: 5}
      x-bake: {args: {Z: "1"}}
"""
    target = planned(text, "compose.yaml").targets["a"]
    assert target["ssh"] == ["default"] and target["network"] == "none"
    assert target["extra-hosts"] == {"h": "1.2.3.4", "i": "5.6.7.8"}
    assert target["no-cache"] is True and target["pull"] is True
    assert target["ulimits"] == ["nproc=5:5"] and target["args"] == {"Z": "1"}


def test_without_the_library_hcl_is_told_with_what_to_install_and_json_is_read(monkeypatch):
    monkeypatch.setitem(sys.modules, "hcl2", None)
    with pytest.raises(Unsupported) as caught:
        planned('target "default" {}')
    assert caught.value.message == "docker-bake.hcl: HCL needs the package python-hcl2, which is not here"
    assert caught.value.hint == "pip install 'estiva[bake]'"
    assert planned('{"target": {"default": {}}}', "docker-bake.json").targets["default"]["context"] == "."
