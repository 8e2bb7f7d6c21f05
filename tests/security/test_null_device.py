"""The host's null device, which nearly every process of a container has as a file of its own or over a masked
one, keeps its mode and owner. The host's here is one that the test has made, in a mount namespace of its own.
"""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from enginekit import ESTIVA, IMAGE, host

CHECKOUT = os.path.dirname(ESTIVA)
ATTACK = (
    "for f in /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/keys /proc/timer_list /dev/null /dev/zero; do"
    " chmod 600 $f; chown 1234 $f; touch -d @1 $f; done 2>/tmp/said; true"
)
DEV = (
    "mount -t tmpfs none /dev && mkdir /dev/pts /dev/shm /dev/mqueue && mount -t devpts none /dev/pts && "
    + " && ".join(
        f"mknod -m 666 /dev/{name} c {number}"
        for name, number in (
            ("null", "1 3"),
            ("zero", "1 5"),
            ("full", "1 7"),
            ("random", "1 8"),
            ("urandom", "1 9"),
            ("tty", "5 0"),
        )
    )
    + " && ln -s /proc/self/fd /dev/fd && mknod -m 666 /dev/fuse c 10 229"
)


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


def after(box, script):
    """What the devices are like after `script`, on a host with /dev of its own."""
    look = "stat -c '%n %a %u %Y' /dev/null /dev/zero /dev/full"
    script = (
        f'set -e; {DEV}; before=$({look}); {{ {script}; }} >/dev/null </dev/null; [ "$before" = "$({look})" ]'
    )
    words = [*box.prefix, "unshare", "-m", "sh", "-c", script]
    return subprocess.run(words, capture_output=True, text=True, env=box.env, cwd=box.folder, timeout=300)


@pytest.mark.parametrize(
    "options",
    [
        "",
        "-d",
        "--cap-drop ALL",
        "--read-only --tmpfs /tmp",
        "--init",
        "--userns keep-id -u 0",
        "-u 1000",
    ],
)
def test_run(box, options):
    wait = "sleep 1" if options == "-d" else "true"
    done = after(box, f"{ESTIVA} run --rm --network none {options} {IMAGE} sh -c '{ATTACK}'; {wait}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "removed", ["", "rm -f /dev/null;", "rm -f /dev/null; ln -s /proc/self/exe /dev/null;"]
)
def test_exec(box, removed):
    script = f"""{ESTIVA} run -d --name c1 --network none {IMAGE} sh -c '{removed} sleep 100'; sleep 0.3
    {ESTIVA} exec c1 sh -c '{ATTACK}'; {ESTIVA} rm -f c1"""
    done = after(box, script)
    assert done.returncode == 0, done.stderr


def test_build(box):
    os.makedirs(f"{box.folder}/context", exist_ok=True)
    with open(f"{box.folder}/context/Dockerfile", "w") as file:
        file.write(f"FROM {IMAGE}\nRUN mkdir -p /tmp; {ATTACK}\n")
    done = after(box, f"{ESTIVA} build --no-cache -q {box.folder}/context")
    assert done.returncode == 0, done.stderr


def test_a_bundle(box, tmp_path):
    """Of whom nothing was asked to be opened, with fds that can only be read: it can write to them still."""
    rootfs = tmp_path / "rootfs"
    rootfs.mkdir()
    subprocess.run(
        [ESTIVA, "export", "-o", tmp_path / "t.tar", box.out("create", IMAGE, "true")],
        env=box.env,
        check=True,
    )
    subprocess.run(["tar", "-xf", tmp_path / "t.tar", "-C", rootfs], check=True)
    spec = subprocess.run([f"{CHECKOUT}/estiva-oci", "spec", "-b", tmp_path], check=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": ["sh", "-c", f"echo x || exit 9; {ATTACK}"]}
    config["root"]["readonly"] = False
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = after(
        box, f"{CHECKOUT}/estiva-oci --root {tmp_path}/state run -b {tmp_path} n1 </dev/null 1</dev/null"
    )
    assert spec.returncode == 0 and done.returncode == 0, done.stderr
