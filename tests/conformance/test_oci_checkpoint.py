"""podman checkpoints and restores containers that run on estiva-oci."""

import os
import shutil
import subprocess
import time

import pytest

import bundle
import ocikit
from bundle import box  # noqa: F401  (a fixture)

LOOP = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"


@pytest.fixture(scope="module")
def podman(box):  # noqa: F811
    for program in ("podman", "criu", "unshare", "nsenter", "ip"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    if subprocess.run(["criu", "check"], capture_output=True).returncode:
        pytest.skip("criu check: this kernel can't")
    os.chmod(box, 0o755)
    machine = ocikit.Machine("oci-criu-")
    folder = machine.folder
    engine = ocikit.Engine(
        machine,
        *("podman", f"--root={folder}/root", f"--runroot={folder}/run", f"--tmpdir={folder}/tmp"),
        *("--storage-driver=overlay", "--cgroup-manager=cgroupfs", "--events-backend=file"),
        f"--runtime={ocikit.PEER}",
    )
    try:
        subprocess.run(["tar", "-C", box, "-cf", f"{folder}/box.tar", "."], check=True)
        engine("import", f"{folder}/box.tar", "box")
        yield engine
        engine.run("rm", "-f", "-t", "0", *engine("ps", "-aq").split())
    finally:
        machine.close()


def last(podman, name, beyond):
    """The numbers that the container has said, once the last is more than `beyond`."""
    deadline = time.monotonic() + 300
    while True:
        lines = podman("logs", name).split()
        if lines and int(lines[-1]) > beyond:
            return [int(line) for line in lines]
        assert time.monotonic() < deadline, lines
        time.sleep(0.1)


@bundle.requires_kernel
def test_checkpoint_restore_export_and_import(podman):
    podman("run", "-d", "--name", "one", "--network", "none", "box", "sh", "-c", LOOP)
    last(podman, "one", 3)
    podman("container", "checkpoint", "one")
    assert podman.status("one") == "exited"
    before = int(podman("logs", "one").split()[-1])
    podman("container", "restore", "one")
    assert podman.status("one") == "running"
    numbers = last(podman, "one", before + 3)
    assert numbers == list(range(1, len(numbers) + 1))  # nothing was done twice or left out

    archive = f"{podman.machine.folder}/one.tar"
    podman("container", "checkpoint", "--export", archive, "one")
    before = int(podman("logs", "one").split()[-1])
    podman("rm", "one")
    podman("container", "restore", "--import", archive, "--name", "two")
    numbers = last(podman, "two", before + 3)  # with the log of the one before, or without
    assert numbers[0] in (1, before + 1)
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert podman("exec", "two", "cat", "/proc/1/cmdline").startswith("sh\0-c\0")
    podman("rm", "-f", "-t", "0", "two")
