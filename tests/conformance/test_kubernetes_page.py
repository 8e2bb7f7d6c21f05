"""docs/kubernetes.md with a containerd of our own: its configuration is taken, CRI and all, and its commands run."""

import os
import pathlib
import re
import shutil

import pytest

import ocikit
from bundle import requires_kernel
from enginekit import CHECKOUT, ESTIVA, IMAGE, host

yaml = pytest.importorskip("yaml")
pytestmark = [
    requires_kernel,
    pytest.mark.skipif(
        not all(map(shutil.which, ("containerd", "ctr", "unshare", "nsenter", "ip"))),
        reason="needs containerd",
    ),
]
PAGE = (CHECKOUT / "docs/kubernetes.md").read_text()


def block(language):
    (text,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return text.replace("/usr/local/bin/estiva-oci", ocikit.PEER)


@pytest.fixture(scope="module")
def machine():
    made = ocikit.Machine("kubernetes-")
    folder = made.folder
    try:
        pathlib.Path(folder, "config.toml").write_text(
            block("toml") + f'[plugins."io.containerd.internal.v1.opt"]\n  path = "{folder}/opt"\n'
        )
        made.daemon(
            "containerd", "--config", f"{folder}/config.toml", "--root", f"{folder}/root", "--state", f"{folder}/state",
            "--address", f"{folder}/sock",
        )  # fmt: skip
        made.env["CONTAINERD_ADDRESS"] = f"{folder}/sock"
        made.until("ctr", "version")
        yield made
    finally:
        made.close()


def test_containerd_takes_the_configuration(machine):
    _, out, _ = machine.run("ctr", "plugins", "ls")
    (cri,) = [
        line.split()
        for line in out.splitlines()
        if line.startswith("io.containerd.grpc.v1 ") and " cri " in line
    ]
    assert cri[-1] == "ok"
    _, out, _ = machine.run("containerd", "--config", f"{machine.folder}/config.toml", "config", "dump")
    assert f'BinaryName = "{ocikit.PEER}"' in out and 'default_runtime_name = "runc"' in out


def test_its_commands_run(machine):
    with host() as box:
        box.image("app:1", ['CMD ["sh"]'])
        box.estiva("tag", IMAGE, "other:1")
        box.estiva("save", "-o", f"{machine.folder}/app.tar", "app:1")
    save, bring, run = block("sh").splitlines()
    assert save == "estiva save -o app.tar app:1" and os.path.exists(ESTIVA)
    status, _, err = machine.run("sh", "-c", f"cd {machine.folder} && {bring}")
    assert status == 0, err
    for number in range(20):  # ctr may leave before it has copied what was said: see test_oci_containerd.py
        status, out, err = machine.run("sh", "-c", run.replace(" try ", f" try{number} "))
        assert status == 0, err
        if out:
            break
    assert out == "hello\n"


def test_the_pod_asks_for_the_runtime_that_containerd_has():
    runtime, pod = yaml.safe_load_all(block("yaml"))
    assert f"containerd.runtimes.{runtime['handler']}]" in block("toml")
    assert pod["spec"]["runtimeClassName"] == runtime["metadata"]["name"]
