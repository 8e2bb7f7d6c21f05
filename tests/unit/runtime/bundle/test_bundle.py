"""A bundle as it is read."""

import json
import re

import pytest

from estiva.errors import InvalidInput, NotFound
from estiva.ocicli import spec
from estiva.runtime.bundle import bundle


def test_default_devices_stay_allowed(tmp_path):
    (tmp_path / "rootfs").mkdir()
    config = spec.example(False)
    config["linux"]["resources"]["devices"] = [{"allow": False, "access": "rwm"}]
    (tmp_path / "config.json").write_text(json.dumps(config))
    rules = bundle.load(str(tmp_path)).resources()["devices"]
    assert rules[0] == {"allow": False, "access": "rwm"}
    assert {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"} in rules


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ociVersion": None}, "ociVersion: None is not a version"),
        ({"ociVersion": "1.0"}, "is not a version"),
        ({"ociVersion": "2.0.0"}, "2.0.0 is not supported"),
        ({"root": None}, "root.path is missing"),
        ({"root": {"path": "a\0b"}}, "root.path is missing"),
        ({"hooks": []}, "hooks is not an object"),
        ({"annotations": {"": "x"}}, "is not a name and a string"),
        ({"annotations": {"x": 1}}, "is not a name and a string"),
        ({"process": {"args": [], "cwd": "/"}}, "process.args is not a list of at least one string"),
        ({"process": {"args": ["x"], "cwd": "tmp"}}, "process.cwd is not an absolute path"),
    ],
)
def test_what_is_wrong_is_named(change, words):
    with pytest.raises(InvalidInput, match=re.escape(words)):
        bundle.check(spec.example(False) | change)


@pytest.mark.parametrize("version", ["1.0.0", "1.3.0-rc.1", "1.2.0+dev", "1.0.0-rc5-dev"])
def test_versions_of_the_specification(version):
    bundle.check(spec.example(False) | {"ociVersion": version})


def test_a_bundle_that_is_not_there(tmp_path):
    with pytest.raises(NotFound, match="config.json: no such file"):
        bundle.load(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(spec.example(False)))
    with pytest.raises(NotFound, match="rootfs is not a directory"):
        bundle.load(str(tmp_path))
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(InvalidInput, match="is not a json object"):
        bundle.load(str(tmp_path))
