"""OCI image layouts as folders: as untrusted as an archive (K19), filled by several writers at once."""

from __future__ import annotations

import json
import os

import pytest

from estiva.errors import IntegrityError, InvalidInput, NotFound
from estiva.oci.digest import sha256
from estiva.store.archive import layout

DATA = b"some blob"
DIGEST = sha256(DATA)


def item(number, name="", **annotations):
    if name:
        annotations[layout.REF_NAME] = name
    return {"digest": sha256(bytes([number])), "annotations": annotations}


def test_what_a_tag_picks():
    one, two = item(1, "1"), item(2, "2", **{"io.containerd.image.name": "docker.io/library/two:2"})
    index = {"manifests": [one, two]}
    assert layout.pick(index, "1") == one
    assert layout.pick(index, "docker.io/library/two:2") == two
    assert layout.pick(index, two["digest"]) == two
    assert layout.pick({"manifests": [one]}, "") == one
    assert layout.pick({"manifests": [one, {**one, "annotations": {}}]}, "") == one
    with pytest.raises(InvalidInput, match="2 images") as caught:
        layout.pick(index, "")
    assert caught.value.hint == "name one of 1, 2"
    with pytest.raises(NotFound, match="called 3"):
        layout.pick(index, "3")
    with pytest.raises(NotFound, match="no image"):
        layout.pick({"manifests": []}, "")


def test_a_descriptor_takes_the_place_of_its_tag():
    listed = layout.place_in([item(1, "1"), item(2)], item(3), "1")
    assert listed == [item(2), item(3, "1")]
    assert layout.place_in(listed, item(2), "") == [item(3, "1"), item(2)]
    assert layout.place_in([], item(1, old="x"), "t") == [item(1, "t", old="x")]


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "layout"
    layout.prepare(str(path))
    return path


def put(folder, data=DATA):
    sink = layout.BlobFile(str(folder), sha256(data), len(data))
    sink.feed(data)
    sink.commit()
    sink.close()


def test_a_folder_is_made_once_and_no_other_is_taken(folder, tmp_path):
    layout.prepare(str(folder))
    assert json.loads((folder / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    (tmp_path / "full").mkdir()
    (tmp_path / "full/letter").write_text("dear")
    with pytest.raises(InvalidInput, match="neither empty nor"):
        layout.prepare(str(tmp_path / "full"))
    with pytest.raises(InvalidInput, match="can't make"):
        layout.prepare(str(tmp_path / "full/letter/x"))
    assert os.listdir(tmp_path / "full") == ["letter"]


def test_a_blob_is_there_when_its_digest_is_proven(folder):
    target = folder / layout.place(DIGEST)
    sink = layout.BlobFile(str(folder), DIGEST, len(DATA))
    sink.feed(DATA[:-1] + b"!")
    with pytest.raises(IntegrityError, match="digest"):
        sink.commit()
    assert not target.exists()
    with pytest.raises(IntegrityError, match="larger"):
        sink.feed(b"x")
    sink.rewind()
    sink.feed(DATA)
    sink.commit()
    sink.close()
    assert target.read_bytes() == DATA and os.listdir(target.parent) == [target.name]
    again = layout.BlobFile(str(folder), DIGEST, len(DATA))
    assert again.complete
    again.close()


def test_a_broken_blob_goes_on_where_it_broke(folder):
    sink = layout.BlobFile(str(folder), DIGEST, len(DATA))
    sink.feed(DATA[:4])
    sink.close()
    sink = layout.BlobFile(str(folder), DIGEST, len(DATA))
    assert sink.offset == 4 and not sink.complete
    sink.feed(DATA[4:])
    sink.commit()
    sink.close()
    assert (folder / layout.place(DIGEST)).read_bytes() == DATA
    empty = layout.BlobFile(str(folder), sha256(b"other"), 5)
    empty.close()
    assert [name for name in os.listdir(folder / "blobs/sha256") if name.startswith(".")] == []


def test_members_are_read_from_any_byte(folder):
    put(folder)
    opened = layout.Folder(str(folder))
    try:
        member = opened.find(layout.place(DIGEST))
        assert member.stored == len(DATA) and layout.place(DIGEST) in opened
        assert b"".join(opened.chunks(member, 5)) == DATA[5:]
        with pytest.raises(InvalidInput, match="larger than 3"):
            opened.read(layout.place(DIGEST), 3)
    finally:
        opened.close()


def test_nothing_outside_a_folder_is_read(folder, tmp_path):
    (tmp_path / "secret").write_text("hush")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("hush")
    os.symlink(tmp_path / "secret", folder / "link")
    os.symlink(tmp_path / "outside", folder / "way")
    os.mkfifo(folder / "pipe")
    opened = layout.Folder(str(folder))
    try:
        names = (
            "../secret",
            "blobs/../../secret",
            "/secret",
            "link",
            "way/file",
            "pipe",
            "blobs",
            "",
            ".",
            "a\0b",
            "\ud800",
        )
        for name in names:
            assert name not in opened, name
            with pytest.raises(InvalidInput, match="no file"):
                opened.find(name)
    finally:
        opened.close()
    for path, kind in ((tmp_path / "none", NotFound), (tmp_path / "secret", InvalidInput)):
        with pytest.raises(kind):
            layout.Folder(str(path))


def test_the_index_is_added_to(folder):
    descriptor = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": DIGEST, "size": 9}
    layout.add(str(folder), descriptor, "1")
    layout.add(str(folder), descriptor, "2")
    layout.add(str(folder), {**descriptor, "digest": sha256(b"newer")}, "1")
    index = json.loads((folder / "index.json").read_text())
    assert [(entry["annotations"][layout.REF_NAME], entry["digest"]) for entry in index["manifests"]] == [
        ("2", DIGEST),
        ("1", sha256(b"newer")),
    ]
