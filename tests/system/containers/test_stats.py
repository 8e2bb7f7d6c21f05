"""`stats`: Docker's columns and fields; the page cache is told apart from the working set."""

import json
import os
import signal
import subprocess

import pytest

from enginekit import IMAGE, eventually, host


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


@pytest.fixture(scope="module")
def busy(box):
    script = "dd if=/dev/zero of=/big bs=1M count=20 2>/dev/null; cat /big >/dev/null; echo ready; sleep 600 & while :; do :; done"
    box.out("run", "-d", "--name", "busy", "--network", "none", "-m", "256m", IMAGE, "sh", "-c", script)
    eventually(lambda: "ready" in box.out("logs", "busy"))
    box.out("create", "--name", "idle", "--network", "none", IMAGE, "true")
    yield "busy"
    box.estiva("rm", "-f", "busy", "idle")


def test_the_table(box, busy):
    head, *rows = box.out("stats", "--no-stream").splitlines()
    assert head.split("  ")[0] == "CONTAINER ID"
    columns = ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"]
    assert [word.strip() for word in head.split("   ") if word.strip()] == columns
    assert len(rows) == 1 and "busy" in rows[0] and "/ 256MiB" in rows[0]


def test_fields_and_formats(box, busy):
    row = json.loads(box.out("stats", "--no-stream", "--format", "json", busy))
    assert set(row) == {
        "Container",
        "ID",
        "Name",
        "CPUPerc",
        "MemUsage",
        "MemPerc",
        "NetIO",
        "BlockIO",
        "PIDs",
    }
    assert row["Container"] == row["Name"] == "busy" and len(row["ID"]) == 12
    assert float(row["CPUPerc"].rstrip("%")) > 0
    assert row["NetIO"] == "0B / 0B" and row["PIDs"] == "2"
    text = box.out("stats", "--no-stream", "--format", "{{.Name}}={{.PIDs}}", busy)
    assert text == "busy=2"
    table = box.out("stats", "--no-stream", "--no-trunc", "--format", "table {{.ID}}\t{{.MemPerc}}", busy)
    head, row = table.splitlines()
    assert head.split()[0] == "CONTAINER" and len(row.split()[0]) == 64


def test_all_has_the_stopped_ones_too(box, busy):
    rows = box.out(
        "stats", "--no-stream", "--all", "--format", "{{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.PIDs}}"
    )
    assert "idle 0.00% 0B / 0B 0" in rows.splitlines() and "busy" in rows


def test_the_cache_is_not_the_working_set(box, busy):
    code = """
import estiva.engine.containers.stats as s
from estiva.engine import Engine
used = s.stats(Engine(), "busy")["memory"]
print(used["usage"], used["working_set"], used["cache"], used["inactive_file"])
"""
    usage, working, cache, idle = map(int, box.python(code).split())
    assert cache >= 15 << 20 and usage >= cache
    assert working == usage - idle
    assert idle > 0


def test_streaming_goes_on_until_interrupted(box, busy):
    child = box.start("stats", "--format", "{{.Name}}", stdout=subprocess.PIPE, text=True)
    assert [child.stdout.readline() for _ in range(3)] == ["busy\n"] * 3
    child.send_signal(signal.SIGTERM)
    child.wait(300)
    child.stdout.close()


def test_network_is_counted_without_loopback(box):
    container = box.out("run", "-d", IMAGE, "sh", "-c", "ping -c 3 127.0.0.1; echo done; sleep 600")
    eventually(lambda: "done" in box.out("logs", container))
    code = f"""
import estiva.engine.containers.stats as s
from estiva.engine import Engine
print(*s.stats(Engine(), {container!r})["network"])
"""
    assert box.python(code).split() == ["eth0"]
    box.estiva("rm", "-f", container)


def test_a_missing_one_is_told(box):
    assert "no such container: nosuch" in box.estiva("stats", "--no-stream", "nosuch", status=1).stderr


def test_output_to_a_pipe_has_no_escapes(box, busy):
    read, write = os.pipe()
    child = box.start("stats", stdout=write)
    os.close(write)
    text = b""
    while text.count(b"CONTAINER ID") < 2:
        text += os.read(read, 4096)
    child.terminate()
    child.wait(300)
    os.close(read)
    assert b"\033" not in text
