import pytest
from hypothesis import given
from hypothesis import strategies as st

from estiva.errors import InvalidInput
from estiva.oci.reference import Reference, familiar

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("alpine", "docker.io", "library/alpine", "latest", ""),
        ("alpine:3.20", "docker.io", "library/alpine", "3.20", ""),
        ("docker.io/alpine", "docker.io", "library/alpine", "latest", ""),
        ("index.docker.io/a/b", "docker.io", "a/b", "latest", ""),
        ("user/app", "docker.io", "user/app", "latest", ""),
        ("localhost/app", "localhost", "app", "latest", ""),
        ("localhost:5000/x", "localhost:5000", "x", "latest", ""),
        ("127.0.0.1:5000/a/b/c:t", "127.0.0.1:5000", "a/b/c", "t", ""),
        ("[::1]:5000/x", "[::1]:5000", "x", "latest", ""),
        ("[fe80::1]/x:y", "[fe80::1]", "x", "y", ""),
        ("Quay.IO/a__b/c-d--e.f_g", "Quay.IO", "a__b/c-d--e.f_g", "latest", ""),
        (f"alpine@{DIGEST}", "docker.io", "library/alpine", "", DIGEST),
        (f"q.io/a:b@{DIGEST}", "q.io", "a", "b", DIGEST),
        ("foo:5000", "docker.io", "library/foo", "5000", ""),
        ("a:" + "t" * 128, "docker.io", "library/a", "t" * 128, ""),
        ("xn--n3h.com/x", "xn--n3h.com", "x", "latest", ""),
    ],
)
def test_parses(text, registry, repository, tag, digest):
    found = Reference.parse(text)
    assert (found.registry, found.repository, found.tag, found.digest) == (registry, repository, tag, digest)
    assert Reference.parse(str(found)) == found
    assert Reference.parse(found.familiar) == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("UPPER/x", "must be lowercase"),
        ("Alpine", "must be lowercase"),
        ("https://docker.io/x", "url scheme"),
        ("a//b", "is empty"),
        ("a/", "is empty"),
        ("/a", "is empty"),
        ("-a", "out of place"),
        ("a-", "out of place"),
        ("a___b", "out of place"),
        ("a..b", "out of place"),
        ("a._b", "out of place"),
        ("a_-b", "out of place"),
        ("a b", "out of place"),
        ("aé", "out of place"),
        ("a:", "tag after the colon is empty"),
        ("a:.x", "is not a tag"),
        ("a:-x", "is not a tag"),
        ("a:x/y", "is not a registry's|is not a port"),
        ("a:b:c", "is not a tag"),
        ("a:" + "t" * 129, "longer than 128"),
        ("a" * 256, "longer than 255"),
        ("a@sha256:12", "invalid digest"),
        ("a@" + DIGEST.upper(), "invalid digest"),
        ("a@", "invalid digest"),
        ("0a" * 32, "image id"),
        ("host:99999/x", "is not a port"),
        ("host:/x", "is not a port"),
        ("-host.com/x", "host name"),
        ("ho_st.com/x", "host name"),
        ("a..com/x", "host name"),
        ("[::1/x", "address"),
        ("[x]/x", "out of place|address"),
        ("docker.io/", "missing"),
        ("a\n", "out of place"),
        ("x" * 2000, "longer than 1024"),
    ],
)
def test_refuses(text, why):
    with pytest.raises(InvalidInput, match=why):
        Reference.parse(text)


def test_message_names_the_reference_on_one_line():
    with pytest.raises(InvalidInput) as caught:
        Reference.parse("UPPER/x")
    assert str(caught.value) == 'invalid reference "UPPER/x": repository name must be lowercase'
    with pytest.raises(InvalidInput) as caught:
        Reference.parse("a\x1b[31m\n")
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)


def test_familiar_names():
    assert Reference.parse("alpine").familiar == "alpine:latest"
    assert Reference.parse("docker.io/user/x:1").familiar == "user/x:1"
    assert familiar("docker.io/library/alpine") == "alpine"
    # shorter forms that would parse to something else stay long
    assert Reference.parse("docker.io/my.host/x").familiar_name == "docker.io/my.host/x"
    assert Reference.parse("docker.io/library/" + "0a" * 32).familiar_name == "docker.io/library/" + "0a" * 32


def test_with_tag_and_digest():
    base = Reference.parse("q.io/a:1")
    assert str(base.with_tag("2")) == "q.io/a:2"
    assert str(base.with_digest(DIGEST)) == f"q.io/a@{DIGEST}"
    with pytest.raises(InvalidInput):
        base.with_tag("a/b")


ALNUM = "abcdefghijklmnopqrstuvwxyz0123456789"
word = st.text(ALNUM, min_size=1, max_size=8)
component = st.builds(
    lambda first, rest: first + "".join(s + w for s, w in rest),
    word,
    st.lists(st.tuples(st.sampled_from([".", "_", "__", "-", "---"]), word), max_size=3),
)
host = st.sampled_from(["", "docker.io/", "localhost/", "localhost:5000/", "reg.example:443/", "[::1]:5/"])
tag = st.text(ALNUM + "ABC_", min_size=1, max_size=1).flatmap(
    lambda first: st.text(ALNUM + "XYZ_.-", max_size=20).map(lambda rest: first + rest)
)


@given(host, st.lists(component, min_size=1, max_size=4), st.none() | tag, st.booleans())
def test_round_trip(host, components, tag, pinned):
    text = host + "/".join(components) + (f":{tag}" if tag else "") + (f"@{DIGEST}" if pinned else "")
    if len(text) == 64 and set(text) <= set("0123456789abcdef"):
        return
    if not host and len(components) > 1 and "." in components[0]:
        return  # that is a host, if not a good one
    found = Reference.parse(text)
    assert found.tag == (tag or ("" if pinned else "latest"))
    assert Reference.parse(str(found)) == found
    assert Reference.parse(found.familiar) == found


@given(st.text(max_size=80))
def test_any_text_parses_or_is_refused(text):
    try:
        found = Reference.parse(text)
    except InvalidInput:
        return
    assert Reference.parse(str(found)) == found
    assert not set(str(found)) & set(" \n\t\\\"'")
