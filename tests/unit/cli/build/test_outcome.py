"""The files that a build writes its outcome to: --iidfile and --metadata-file."""

import json
import os
import threading

import pytest

from estiva.cli.build import outcome
from estiva.cmdline.parser import Options
from estiva.errors import NotFound

ID = "sha256:" + "a" * 64


def options(**files):
    return Options({name.replace("_", "-"): str(path) for name, path in files.items()}, [])


def test_an_earlier_outcome_goes_before_the_build_and_comes_after_it(tmp_path):
    iid, told = tmp_path / "iid", tmp_path / "told.json"
    iid.write_text("an older one")
    told.write_text("an older one")
    asked = options(iidfile=iid, metadata_file=told)
    outcome.begin(asked)
    assert os.listdir(tmp_path) == []
    outcome.write(asked, ID, ["web:1", "example.org/a/b"], {"containerimage.digest": "sha256:other"})
    assert iid.read_text() == ID
    found = json.loads(told.read_text())
    assert len(found.pop("buildx.build.ref").removeprefix("default/default/")) == 25
    assert found == {
        "containerimage.config.digest": ID,
        "containerimage.digest": "sha256:other",
        "image.name": "docker.io/library/web:1,example.org/a/b:latest",
    }
    assert told.stat().st_mode & 0o777 == iid.stat().st_mode & 0o777 == 0o644


def test_without_a_name_there_is_none():
    assert "image.name" not in outcome.metadata(ID, [])


def test_what_is_no_file_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    link = tmp_path / "link"
    link.symlink_to("target")
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    asked = options(iidfile=pipe, metadata_file=link)
    outcome.begin(asked)
    outcome.write(asked, ID, [])
    reader.join()
    assert read == [ID]
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert json.loads((tmp_path / "target").read_text())["containerimage.digest"] == ID


def test_a_folder_that_is_not_there_is_told_before_the_build(tmp_path):
    with pytest.raises(NotFound, match="the folder .*/no of --metadata-file is not there"):
        outcome.begin(options(metadata_file=tmp_path / "no" / "told.json"))
