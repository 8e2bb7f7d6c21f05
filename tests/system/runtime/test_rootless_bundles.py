"""Bundles that an ordinary user runs: `spec --rootless`, one id or those of /etc/subuid."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

import bundle
import ocikit
from estiva.errors import EngineError
from estiva.runtime.launch import newuidmap

box = bundle.box
USER = 54321


def why_not():
    if os.geteuid() != 0 or shutil.which("busybox") is None or shutil.which("setpriv") is None:
        return "needs root, busybox and setpriv"
    words = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    if subprocess.run([*words, ocikit.PROGRAM, "--version"], capture_output=True).returncode:
        return "an ordinary user can't read the checkout"
    if subprocess.run([*words, "unshare", "-Ur", "true"], capture_output=True).returncode:
        return "an ordinary user can't make user namespaces here"
    return ""


@pytest.fixture
def run():
    """`run("state", "web")`: a verb by the user, its (status, stdout, stderr)."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    folder = tempfile.mkdtemp(prefix="rootless-", dir="/dev/shm")
    bundle.make_root(f"{folder}/rootfs")
    for place, names, files in os.walk(folder):
        for name in (".", *names, *files):
            os.chown(f"{place}/{name}", USER, USER, follow_symlinks=False)
    env = {
        "PATH": os.environ["PATH"],
        "ESTIVA_OCI_ROOT": f"{folder}/run/oci",
        "ESTIVA_ROOT": f"{folder}/root",
    }

    def act(*words, stdin=subprocess.DEVNULL):
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            process = subprocess.Popen(
                ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", ocikit.PROGRAM, *words],
                stdin=stdin,
                stdout=out,
                stderr=err,
                cwd=folder,
                env=env,
            )
            status = process.wait(timeout=300)
            out.seek(0)
            err.seek(0)
            return status, out.read(), err.read()

    def change(edit):
        path = pathlib.Path(folder, "config.json")
        config = json.loads(path.read_text())
        edit(config)
        path.write_text(json.dumps(config))

    def command(*args):
        change(lambda config: config["process"].update(args=list(args), terminal=False))

    act.change, act.command, act.folder = change, command, folder
    assert act("spec", "--rootless")[0] == 0
    yield act
    act("delete", "--force", "web")
    shutil.rmtree(folder, ignore_errors=True)


def test_the_example_runs(run):
    run.command(
        "sh", "-c", "id; cat /proc/self/uid_map /proc/self/setgroups; echo x >/dev/null; touch /x; ls /sys"
    )
    status, out, err = run("run", "web")
    assert status == 0, err
    assert out.startswith("uid=0") and out.split("\n")[1].split() == ["0", str(USER), "1"]
    assert "deny" in out and "kernel" in out
    assert "Read-only" in err


def test_create_start_exec_kill_delete(run):
    run.command("sh", "-c", "while :; do sleep 100; done")
    assert run("run", "-d", "web") == (0, "", "")
    assert json.loads(run("state", "web")[1])["status"] == "running"
    status, out, err = run(
        "exec", "web", "sh", "-c", "id -u; echo $$; readlink /proc/1/ns/user; readlink /proc/self/ns/user"
    )
    assert status == 0, err
    words = out.split()
    assert words[0] == "0" and int(words[1]) > 1 and words[2] == words[3]
    assert run("exec", "web", "sh", "-c", "exit 7")[0] == 7
    assert run("delete", "web")[0] == 1
    assert run("delete", "--force", "web")[0] == 0


def test_what_he_may_not_is_told_whole(run):
    run.command("true")
    run.change(lambda config: config["process"]["user"].update(additionalGids=[7]))
    status, _, err = run("run", "web")
    assert status == 1 and "supplementary groups can't be set in this user namespace" in err
    run.change(lambda config: config["process"]["user"].pop("additionalGids"))
    run.change(
        lambda config: config["linux"]["uidMappings"].append({"containerID": 1, "hostID": 0, "size": 5})
    )
    status, _, err = run("run", "web")
    assert status == 1 and "newuidmap" in err
    assert run("state", "web")[0] == 1


def test_a_limit_that_is_asked_for_is_not_passed_over(run):
    run.command("true")
    run.change(lambda config: config["linux"].update(resources={"memory": {"limit": 64 << 20}}))
    status, _, err = run("run", "web")
    assert status == 1 and "can't be made: permission denied" in err


def test_what_the_mapping_program_says_is_the_error(tmp_path):
    with pytest.raises(EngineError, match="newuidmap can't map ids 0 0 4294967295"):
        if not os.path.exists("/usr/bin/newuidmap"):
            pytest.skip("uidmap is not installed")
        child = subprocess.Popen(["sleep", "100"])
        try:
            newuidmap._by_program("newuidmap", [str(child.pid), "0", "0", "4294967295"])
        finally:
            child.kill()
            child.wait()
