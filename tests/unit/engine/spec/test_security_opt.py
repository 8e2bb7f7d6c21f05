import pytest

from estiva.engine.spec import confinement, security_opt
from estiva.errors import IntegrityError, InvalidInput, NotFound, Unsupported
from estiva.runtime.process import labels
from estiva.runtime.security import kernel_paths

PROFILE = '{"defaultAction": "SCMP_ACT_ALLOW"}'


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("seccomp=unconfined", ("seccomp", "unconfined")),
        ("seccomp:unconfined", ("seccomp", "unconfined")),
        ("seccomp=/a:b=c", ("seccomp", "/a:b=c")),
        ("seccomp:/a=b:c", ("seccomp", "/a=b:c")),
        ("label=type:x", ("label", "type:x")),
        ("no-new-privileges", ("no-new-privileges", "")),
        ("", ("", "")),
    ],
)
def test_the_first_separator_separates(option, expected):
    assert security_opt.split_option(option) == expected


@pytest.mark.parametrize(
    ("options", "privileged", "expected"),
    [
        (None, False, ("", False)),
        ([], True, ("unconfined", False)),
        (["seccomp=builtin"], True, ("builtin", False)),
        (["seccomp=/x", "no-new-privileges"], False, ("/x", True)),
        (["no-new-privileges:true"], False, ("", True)),
        (["no-new-privileges", "no-new-privileges=false"], False, ("", False)),
        (["seccomp=/x", "seccomp=unconfined"], False, ("unconfined", False)),
        (["apparmor=x", "label=disable"], False, ("", False)),
    ],
)
def test_options(options, privileged, expected):
    assert security_opt.security_options({"SecurityOpt": options, "Privileged": privileged}) == expected


@pytest.mark.parametrize(
    "option",
    ["", "x", "x=y", "seccomp", "seccomp=", "no-new-privileges=maybe", "label", "apparmor=", "systempaths=x"],
)
def test_what_is_no_option(option):
    with pytest.raises(InvalidInput, match="invalid --security-opt: "):
        security_opt.security_options({"SecurityOpt": [option]})


def test_a_profile_is_read(tmp_path):
    path = tmp_path / "profile.json"
    path.write_text(PROFILE)
    assert security_opt.profile(str(path)) == {"profile": {"defaultAction": "SCMP_ACT_ALLOW"}}
    assert security_opt.profile(PROFILE) == {"profile": {"defaultAction": "SCMP_ACT_ALLOW"}}
    assert security_opt.profile("") == security_opt.profile("builtin") == {}
    assert security_opt.profile("unconfined") is None


def test_a_profile_that_can_t_be_read(tmp_path):
    (tmp_path / "bad").write_text("{")
    (tmp_path / "huge").write_bytes(b" " * (security_opt.MAX_PROFILE + 1))
    for name, kind, message in (
        ("nosuch", NotFound, "opening seccomp profile .*nosuch. failed: no such file"),
        ("", NotFound, "opening seccomp profile .* failed: is a directory"),
        ("bad", InvalidInput, "bad is not valid json"),
        ("huge", IntegrityError, "huge is larger than"),
    ):
        with pytest.raises(kind, match=message):
            security_opt.profile(f"{tmp_path}/{name}")
    with pytest.raises(InvalidInput, match="seccomp profile x: its path must be absolute"):
        security_opt.profile("x")


def test_a_path_is_below_the_caller_s_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert security_opt.absolute("seccomp=a:b=c.json") == f"seccomp={tmp_path}/a:b=c.json"
    assert security_opt.absolute("seccomp:./x") == f"seccomp={tmp_path}/x"
    for option in (
        "seccomp=unconfined",
        "seccomp=builtin",
        "seccomp=",
        f"seccomp={PROFILE}",
        "label=disable",
        "x",
    ):
        assert security_opt.absolute(option) == option


def test_system_paths():
    assert confinement.paths(["seccomp=x"]) == {"SecurityOpt": ["seccomp=x"]}
    opened = {"SecurityOpt": ["a"], "MaskedPaths": [], "ReadonlyPaths": []}
    assert confinement.paths(["a", "systempaths=unconfined"]) == opened
    assert confinement.paths(["unmask=ALL", "a"]) == opened
    found = confinement.paths(["mask=/a:/b", "unmask=/proc/k*:/proc/sys", "mask=/a"])
    assert found["MaskedPaths"][-2:] == ["/a", "/b"] and found["MaskedPaths"].count("/a") == 1
    assert "/proc/kcore" not in found["MaskedPaths"] and "/proc/kcore" in kernel_paths.masked_paths()
    assert "/proc/sys" not in found["ReadonlyPaths"] and "/proc/sys" in kernel_paths.READONLY_PATHS


@pytest.mark.parametrize(
    "option",
    [
        "systempaths=x",
        "systempaths",
        "mask=rel",
        "mask=",
        "unmask=/a:b",
        "mask=/a/../b",
        "mask=/a\nb",
        "mask=/" + "x\x1b" * 5000,
    ],
)
def test_system_paths_that_are_none(option):
    with pytest.raises(InvalidInput, match="invalid --security-opt: ") as caught:
        confinement.paths([option])
    assert caught.value.message.isprintable() and len(caught.value.message) < 1500


def labelled(options, privileged=False):
    config = {"process": {}, "linux": {}}
    confinement.label(config, options, privileged)
    return config["process"], config["linux"]


def test_labels_where_the_kernel_has_them(monkeypatch):
    monkeypatch.setattr(labels, "selinux", lambda: True)
    monkeypatch.setattr(labels, "apparmor", lambda: True)
    assert labelled(["label=disable", "apparmor=unconfined"]) == ({}, {})
    assert labelled(["label=type:x_t", "label=level:s0:c1"]) == (
        {"selinuxLabel": "system_u:system_r:x_t:s0:c1"},
        {"mountLabel": "system_u:object_r:container_file_t:s0:c1"},
    )
    assert labelled(["label=type:x_t"], privileged=True) == ({}, {})
    assert labelled(["label=type:x_t", "label=disable"]) == ({}, {})
    assert labelled(["apparmor=mine"])[0] == {"apparmorProfile": "mine"}
    for option in ("label=x", "label=x:y", "label=type:a b", "label=type:a\nb"):
        with pytest.raises(InvalidInput, match="invalid --security-opt: "):
            labelled([option])


def test_labels_where_it_has_none(monkeypatch):
    monkeypatch.setattr(labels, "selinux", lambda: False)
    monkeypatch.setattr(labels, "apparmor", lambda: False)
    with pytest.raises(Unsupported, match="SELinux is not enabled here"):
        labelled(["label=type:x_t"])
    with pytest.raises(Unsupported, match="this kernel has no AppArmor"):
        labelled(["apparmor=mine"])
