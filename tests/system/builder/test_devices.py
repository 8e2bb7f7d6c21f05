"""RUN --device: CDI devices, as far as the caller allows them."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator

import pytest

from enginekit import IMAGE, Host, host

NOTE = "org.mobyproject.buildkit.device."


@pytest.fixture(scope="module")
def box() -> Iterator[Host]:
    with host() as made:
        folder = pathlib.Path(made.folder, "cdi")
        folder.mkdir()
        devices = [
            {"name": name, "annotations": notes, "containerEdits": {"env": [f"GOT_{name.upper()}=1"]}}
            for name, notes in (
                ("b", {}),
                ("a", {NOTE + "class": "toys"}),
                ("free", {NOTE + "autoallow": "true"}),
            )
        ]
        devices[0]["containerEdits"]["deviceNodes"] = [{"path": "/dev/toy", "hostPath": "/dev/null"}]
        spec = {"cdiVersion": "0.6.0", "kind": "v.com/toy", "devices": devices}
        (folder / "toy.json").write_text(json.dumps(spec))
        (folder / "toy.json").chmod(0o644)
        made.env["ESTIVA_CDI_SPEC_DIRS"] = str(folder)
        yield made


def build(box: Host, folder: pathlib.Path, device: str, command: str, *allow: str, status: int = 0) -> str:
    text = f"FROM {IMAGE}\nRUN --network=none --device={device} {command}\n"
    (folder / "Dockerfile").write_text(text)
    words = [word for each in allow for word in ("--allow", each)]
    return box.estiva("build", "--progress", "plain", *words, folder, status=status).stderr


@pytest.mark.parametrize(
    ("device", "command", "allow"),
    [
        ("v.com/toy=b", "test $GOT_B -a -c /dev/toy && echo > /dev/toy", ["device=v.com/toy=b"]),
        ("name=v.com/toy=b,required", "test $GOT_B -a -z \"$GOT_A\"", ["device"]),
        ("v.com/toy", "test $GOT_A -a -z \"$GOT_B\"", ["device=v.com/toy=a"]),
        ("v.com/toy=*", "test $GOT_A -a $GOT_B -a $GOT_FREE", ["device=v.com/toy=a", "device=v.com/toy=b"]),
        ("v.com/toy=*", "test $GOT_A -a $GOT_B -a $GOT_FREE && true", ["device=v.com/toy=*"]),
        ("toys", "test $GOT_A -a -z \"$GOT_B\"", ["device=toys"]),
        ("mine", "test $GOT_B", ["device=v.com/toy=b,alias=mine"]),
        ("v.com/toy=free", "test $GOT_FREE", []),
    ],
)  # fmt: skip
def test_a_device(box: Host, tmp_path: pathlib.Path, device: str, command: str, allow: list[str]) -> None:
    build(box, tmp_path, device, command, *allow)


def test_it_is_the_caller_s_to_allow(box: Host, tmp_path: pathlib.Path) -> None:
    """Whatever else is allowed, also for a trigger, and if the cache has the step; told before anything is done."""
    for allow in ((), ("network.host", "security.insecure"), ("device=v.com/toy=a", "device=v.com/other")):
        said = build(
            box, tmp_path, "v.com/toy=b", "test $GOT_B -a -c /dev/toy && echo > /dev/toy", *allow, status=1
        )
        assert "Dockerfile:2: the device v.com/toy=b is not allowed" in said
        assert "hint: allow it with: --allow device=v.com/toy=b" in said and "[1/" not in said
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nONBUILD RUN --device=v.com/toy=b true\n")
    box.estiva("build", "-q", "-t", "trigger", tmp_path)
    (tmp_path / "Dockerfile").write_text("FROM trigger\n")
    said = box.estiva("build", tmp_path, status=1).stderr
    assert "Dockerfile:1: the device v.com/toy=b is not allowed" in said


def test_one_that_is_not_here(box: Host, tmp_path: pathlib.Path) -> None:
    said = build(box, tmp_path, "v.com/none=x", "true")
    assert "warning: Dockerfile:2: the device v.com/none=x is not here: RUN goes on without it" in said
    said = build(box, tmp_path, "v.com/none=x,required", "true", "device", status=1)
    assert "Dockerfile:2: no such CDI device: v.com/none=x" in said
    for wrong, message in (
        ("required", "needs a name"),
        ("v.com/toy=b,v.com/toy=a", "unexpected --device field"),
    ):
        assert message in build(box, tmp_path, wrong, "true", status=1)
    for allow in ("device=", "device=v.com/toy=b,x=y", "devices"):
        assert (
            "--allow device" in build(box, tmp_path, "v.com/toy=b", "true", allow, status=1)
            or allow == "devices"
        )


def test_another_device_is_another_step(box: Host, tmp_path: pathlib.Path) -> None:
    assert "CACHED" not in build(box, tmp_path, "v.com/toy=a", "echo step", "device")
    assert "CACHED" in build(box, tmp_path, "v.com/toy=a", "echo step", "device")
    assert "CACHED" not in build(box, tmp_path, "v.com/toy=b", "echo step", "device")
