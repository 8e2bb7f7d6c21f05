"""The words of -o, --push, --load and --annotation."""

from __future__ import annotations

import pytest

from estiva.builder.exporters.annotations import Annotations
from estiva.builder.exporters.output import judge
from estiva.errors import InvalidInput, Unsupported
from estiva.oci.platform import Platform


def one(*words, **more):
    (found,) = judge(words, **more)
    return found


def test_without_a_word_it_is_an_image_of_the_store():
    found = one(tags=["web:1", "web:2"])
    assert (found.kind, found.image, found.push, found.names) == ("image", True, False, ["web:1", "web:2"])


def test_a_lone_folder_and_a_lone_dash():
    assert (one("out").kind, one("out").dest) == ("local", "out")
    assert (one("-").kind, one("-").dest) == ("tar", "-")


def test_fields_are_csv():
    found = one('type=image,"name=a:1,b:2",push=true,"annotation.say=x,y"')
    assert found.names == ["a:1", "b:2"] and found.push
    assert found.annotations.of("manifest") == {"say": "x,y"}


@pytest.mark.parametrize(
    ("word", "kind", "image", "dest"),
    [
        ("type=registry,name=r.example/x", "image", True, ""),
        ("type=docker", "docker", True, ""),
        ("type=docker,dest=x.tar", "docker", False, "x.tar"),
        ("type=oci", "oci", False, "-"),
        ("type=oci,dest=d,tar=false", "oci", False, "d"),
        ("TYPE=tar,Dest=Aa", "tar", False, "Aa"),
        ({"type": "local", "dest": "out", "platform-split": True}, "local", False, "out"),
    ],
)
def test_kinds(word, kind, image, dest):
    found = one(word)
    assert (found.kind, found.image, found.dest) == (kind, image, dest)


def test_push_and_load():
    assert one(push=True, tags=["x"]).push
    assert one("type=image", push=True, tags=["x"]).push
    both = judge(["out"], push=True, tags=["x"])
    assert [each.kind for each in both] == ["local", "image"] and both[1].push
    both = judge(["type=oci,dest=x"], load=True)
    assert [each.kind for each in both] == ["oci", "image"]
    assert len(judge(["type=docker"], load=True)) == 1


def test_tags_come_before_a_name():
    assert one("type=image,name=other", tags=["mine"]).names == ["mine"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dest=x"], "has no type"),
        (["type=nydus"], "unknown output type 'nydus'"),
        (["type=local"], "needs a folder"),
        (["type=local,dest=-"], "needs a folder"),
        (["type=oci,tar=false"], "needs a folder"),
        (["type=image,push=maybe"], "push is true or false"),
        (["type=image,pusj=true"], "no attribute 'pusj'"),
        (["type=local,dest=x,compression=gzip"], "no attribute 'compression'"),
        (["type=image,push=true"], "needs a name"),
        (["type=image,name=UPPER"], "UPPER"),
        ([f"type=image,name=x@sha256:{'0' * 64}"], "has a digest"),
        (["type=oci,dest=-", "-"], "several outputs"),
        (['type=image,"name=x'], "invalid output"),
        (["type=image,x"], "not KEY=VALUE"),
        (["type=oci,dest=x,compression-level=99"], "levels 1 to 9"),
        (["type=oci,dest=x,compression=zstd,compression-level=23"], "levels 1 to 22"),
        (["type=oci,dest=x,compression-level=-1"], "whole number"),
        (["type=local,dest=x,attestation-prefix=../x"], "attestation-prefix"),
        (["type=oci,dest=x,oci-mediatypes=false,annotation.a=b"], "no place for annotations"),
        (["type=image,annotation-nothing.a=b"], "unknown annotation type"),
        (["type=image,annotation-index[linux/arm64].a=b"], "of no platform"),
    ],
)
def test_bad_words(words, said):
    with pytest.raises(InvalidInput) as caught:
        judge(words)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "word",
    [
        "type=image,compression=estargz",
        "type=image,unpack=false",
        "type=image,name=x,registry.insecure=true",
        "type=docker,dest=x,tar=false",
        "type=docker,dest=x,compression=gzip",
        "type=docker,dest=x,annotation.a=b",
        "type=local,dest=x,mode=delete",
        "type=image,dangling-name-prefix=x",
    ],
)
def test_what_is_refused_by_name(word):
    with pytest.raises(Unsupported) as caught:
        judge([word])
    assert caught.value.message


def test_annotations():
    said = Annotations()
    said.add("a=1")
    said.add("manifest[linux/arm64],manifest-descriptor:b=x=y")
    said.add("index:c=3")
    arm, amd = Platform.parse("linux/arm64"), Platform.parse("linux/amd64")
    assert said.of("manifest", arm) == {"a": "1", "b": "x=y"}
    assert said.of("manifest", amd) == {"a": "1"}
    assert said.of("manifest-descriptor", amd) == {"b": "x=y"}
    assert said.of("index") == {"c": "3"}
    said.check([arm, amd], True)
    with pytest.raises(InvalidInput, match="which is not built"):
        said.check([amd], True)
    with pytest.raises(InvalidInput, match="needs an index"):
        said.check([arm, amd], False)
    for word in ("x", "=y", "layer:a=b", "index[linux/arm64]:a=b", "manifest[what/a/b/c]:a=b"):
        with pytest.raises(InvalidInput):
            said.add(word)


def test_fields_are_read_alike() -> None:
    """One piece of code reads what options of builds have as KEY=VALUE,...: quotes, commas and cases."""
    from estiva.builder.fields import cells, pairs
    from estiva.errors import EstivaError

    def wrong(why: str) -> EstivaError:
        return InvalidInput(why)

    assert cells('a=1,"b=2,3",c="4', wrong, strict=False) == ["a=1", "b=2,3", 'c="4']
    assert cells("", wrong) == []
    assert pairs(["A = 1", "annotation.B=2", "x="], wrong, exact="annotation") == {
        "a": " 1", "annotation.B": "2", "x": "",
    }  # fmt: skip
    for text in ('"a', 'a="b"c"'):
        with pytest.raises(InvalidInput):
            cells('"a=' + text, wrong)
    for text in ("a", "=1", " =1"):
        with pytest.raises(InvalidInput):
            pairs([text], wrong)
