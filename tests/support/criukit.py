"""Checkpoints with the real criu: for tests that are skipped where it is missing or can't work."""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import shutil
import subprocess

import pytest

import ocikit


@functools.cache
def why_not():
    if os.geteuid() != 0 or shutil.which("busybox") is None:
        return "needs root and a static busybox"
    if shutil.which("criu") is None:
        return "criu is not installed"
    done = subprocess.run(["criu", "check"], capture_output=True, text=True)
    return f"criu check: {done.stderr.strip()[-200:]}" if done.returncode else ""


# criu interrupts a sleep: that is how nanosleep(2) comes back from a checkpoint
IDLE = ("sh", "-c", "while :; do sleep 100; done")
LOOP = "i=0; while sleep 0.05; do i=$((i+1)); echo $i; done"


@contextlib.contextmanager
def runtime(box):
    """An ocikit.Runtime whose checkpoints go to its `images`."""
    if reason := why_not():
        pytest.skip(reason)
    with ocikit.runtime(box) as made:
        made.images = f"{made.folder}/images"
        yield made


def go(runtime, *words, **fds):
    """A verb whose container gets these fds as stdio, /dev/null otherwise."""
    for stream in ("stdin", "stdout", "stderr"):
        fds.setdefault(stream, subprocess.DEVNULL)
    log = f"{runtime.folder}/log"
    pathlib.Path(log).unlink(missing_ok=True)
    process = runtime.popen("--log", log, *words, **fds)
    status = process.wait(timeout=300)
    assert status == 0, pathlib.Path(log).read_text()


def checkpoint(runtime, id, *flags):
    return runtime("checkpoint", "--image-path", runtime.images, *flags, id)


def restore(runtime, id, folder, *flags, **options):
    go(runtime, "restore", "-d", "-b", folder, "--image-path", runtime.images, *flags, id, **options)
