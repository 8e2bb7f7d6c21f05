import pytest

from estiva.engine.images import filters
from estiva.errors import InvalidInput


def entry(*tags, **labels):
    return {"RepoTags": list(tags), "Labels": labels}


def passes(image, **wanted):
    return filters.matches(
        image, {key: [value] if isinstance(value, str) else value for key, value in wanted.items()}
    )


def test_filters_that_there_are():
    sample = {"dangling": ["true"], "until": ["1h"]}
    filters.check({key: sample.get(key, ["x"]) for key in filters.FILTERS})
    filters.check({})
    with pytest.raises(InvalidInput, match="invalid filter 'x'"):
        filters.check({"label": ["a"], "x": ["a"]})


@pytest.mark.parametrize(
    ("value", "named", "unnamed"),
    [("true", False, True), ("1", False, True), ("FALSE", True, False), ("0", True, False)],
)
def test_dangling(value, named, unnamed):
    assert passes(entry("a:1"), dangling=value) is named
    assert passes(entry(), dangling=value) is unnamed


def test_dangling_is_true_or_false():
    with pytest.raises(InvalidInput, match="invalid filter 'dangling=x'"):
        passes(entry(), dangling="x")


@pytest.mark.parametrize(
    ("wanted", "truth"),
    [("a", True), ("a=1", True), ("a=2", False), ("b", False), ("a=", False), ("c=", True), (["a", "c"], True), (["a", "b"], False)],
)  # fmt: skip
def test_labels(wanted, truth):
    assert passes(entry("x:1", a="1", c=""), label=wanted) is truth


@pytest.mark.parametrize(
    ("pattern", "tags"),
    [
        ("box", ["box:1", "box:2"]),
        ("box:1", ["box:1"]),
        ("b*", ["box:1", "box:2"]),
        ("*:2", ["box:2"]),
        ("*", ["box:1", "box:2"]),  # a star stays within one part of the path
        ("*/*", ["me/box:1"]),
        ("me/*:1", ["me/box:1"]),
        ("nosuch", []),
        ("[^a]ox", ["box:1", "box:2"]),
    ],
)
def test_references_cut_the_names_down(pattern, tags):
    image = entry("box:1", "box:2", "me/box:1")
    assert passes(image, reference=pattern) is bool(tags)
    assert image["RepoTags"] == tags


def test_a_registry_s_port_is_no_tag():
    image = entry("localhost:5000/box:1")
    assert passes(image, reference="localhost:5000/box")


def test_all_must_pass():
    assert passes(entry("box:1", a="1"), reference=["nosuch", "box"], label="a", dangling="false")
    assert not passes(entry("box:1", a="1"), reference="box", label="b")
    assert passes(entry())


@pytest.mark.parametrize("bad", ["[", "a[", "[]", "[a-]", "*" * 5000 + "["])
def test_a_reference_that_is_no_pattern_is_refused(bad):
    with pytest.raises(InvalidInput, match="^invalid filter 'reference="):
        filters.check({"reference": ["x", bad]})
