"""A build's progress as an iterator of a program, with stages that run beside each other: read, left, interrupted."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator

import pytest

from enginekit import CHECKOUT, IMAGE, Host, eventually, host

TWO = f"""
text = '''FROM {IMAGE} AS left
RUN echo said left; MORE
FROM {IMAGE} AS right
RUN echo said right; MORE
FROM {IMAGE}
COPY --from=left /etc/passwd /l
COPY --from=right /etc/passwd /r
'''
import estiva, os, sys, threading
images = estiva.Engine().images
def begun(work):
    seen = set()
    for step in work:
        if step.output:
            seen.add((step.stage, step.output.decode()))
        if len(seen) == 2:
            return sorted(seen)
"""
BOTH = "[('left', 'said left\\n'), ('right', 'said right\\n')]"


@pytest.fixture(scope="module")
def box() -> Iterator[Host]:
    with host() as made:
        yield made


def test_steps_of_both_stages_come_as_they_run(box: Host) -> None:
    out = box.python(
        TWO
        + """
work = images.building(None, dockerfile=text.replace("MORE", "sleep 1"), network="none")
print(begun(work))
print(sorted({(step.stage, step.status) for step in work if step.status == "done" and "RUN" in step.message}))
print(work.result().id.startswith("sha256:"), threading.active_count())
"""
    )
    assert out.splitlines() == [BOTH, "[('left', 'done'), ('right', 'done')]", "True 1"]


def test_one_that_is_left_ends_all_its_commands(box: Host) -> None:
    out = box.python(
        TWO
        + """
work = images.building(None, dockerfile=text.replace("MORE", "sleep 1000"), network="none")
print(begun(work))
work.close()
dropped = images.building(None, dockerfile=text.replace("MORE", "sleep 1000"), network="none")
print(begun(dropped))
thread = dropped._going.thread
del dropped
thread.join(60)
print(threading.active_count(), estiva.Engine().system.check().problems)
"""
    )
    assert out.splitlines() == [BOTH, BOTH, "1 ()"]
    eventually(lambda: not box.cgroups(), 30)


def test_the_error_has_the_log_of_the_step_that_failed(box: Host) -> None:
    out = box.python(
        f"""
import estiva
try:
    estiva.build(None, network="none", dockerfile=[
        "FROM {IMAGE} AS left", ("RUN", "echo left; sleep 1000"),
        "FROM {IMAGE} AS right", ("RUN", "echo right; usleep 500000; exit 7"),
        "FROM {IMAGE}", ("COPY --from=left", ["/l", "/"]), ("COPY --from=right", ["/r", "/"]),
    ])
except estiva.BuildError as error:
    print(repr(error.log), error.line, error.status, error)
    print(error.excerpt)
"""
    )
    lines = out.splitlines()
    assert lines[0].startswith(r"'right\n' 4 7 Dockerfile:4: RUN echo right")
    assert lines[3] == "    4 | RUN echo right; usleep 500000; exit 7"
    eventually(lambda: not box.cgroups(), 30)


def test_ctrl_c_in_a_program_that_reads_it(box: Host) -> None:
    program = (
        TWO
        + """
try:
    with images.building(None, dockerfile=text.replace("MORE", "sleep 1000"), network="none") as work:
        print(begun(work), flush=True)
        for step in work: pass
except KeyboardInterrupt:
    print("interrupted", threading.active_count(), flush=True)
"""
    )
    child = subprocess.Popen(
        [*box.prefix, str(CHECKOUT / ".venv/bin/python3"), "-c", program],
        env={**box.env, "PYTHONPATH": str(CHECKOUT / "src")},
        stdout=subprocess.PIPE,
        text=True,
        cwd=box.folder,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == BOTH + "\n"
    child.send_signal(signal.SIGINT)
    assert child.stdout.read() == "interrupted 1\n"
    assert child.wait(60) == 0
    child.stdout.close()
    eventually(lambda: not box.cgroups(), 30)


def test_one_that_waits_for_a_cache_mount_of_another_ends_when_it_is_left(box: Host) -> None:
    out = box.python(
        f"""
import estiva, threading
images = estiva.Engine().images
def mounting(command):
    run = "RUN --mount=type=cache,target=/c,sharing=locked " + command
    return images.building(None, dockerfile_text="FROM {IMAGE}\\n" + run, network="none")
with mounting("echo held; sleep 1000") as holder:
    print(next(step.output for step in holder if step.output))
    with mounting("echo never") as waiter:
        print(next(step.output for step in waiter if step.output))
    print(holder.alive(), waiter.alive())
print(threading.active_count(), estiva.Engine().system.check().problems)
""",
        timeout=100,
    )
    assert out.splitlines()[0] == "b'held\\n'"
    assert out.splitlines()[2:] == ["True False", "1 ()"]
