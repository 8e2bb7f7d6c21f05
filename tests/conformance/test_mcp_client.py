"""`estiva mcp` with the client of the Model Context Protocol's own package: what its tools do, and that nothing stays."""

import base64
import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from enginekit import CHECKOUT, IMAGE, eventually, host

requires_mcp = pytest.mark.skipif(
    importlib.util.find_spec("mcp") is None, reason="the package mcp is not there: pip install 'estiva[mcp]'"
)
HOSTS = [
    word for place in ("/usr", "/lib", "/lib64") for word in ("-v", f"{place}:{place}:ro")
]  # its python3

CLIENT = """
import json, sys, anyio
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

def told(result):
    if result.is_error:
        return "error", result.content[0].text
    found = result.structured_content
    return "ok", found["result"] if list(found) == ["result"] else found

async def main():
    words, calls = json.loads(sys.stdin.read())
    import os
    server = StdioServerParameters(command=words[0], args=words[1:], env=dict(os.environ))
    async with Client(stdio_client(server)) as client:
        tools = {tool.name: tool.description for tool in (await client.list_tools()).tools}
        print(json.dumps(tools), flush=True)
        for name, arguments, *seconds in calls:
            said = ["cancelled", None]
            with anyio.move_on_after(seconds[0] if seconds else None):
                said = told(await client.call_tool(name, arguments))
            print(json.dumps(said), flush=True)

anyio.run(main)
"""


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


def server(box, *words):
    return [*box.prefix, sys.executable, "-m", "estiva", "mcp", *words, IMAGE]


def environment(box):
    return {**box.env, "PYTHONPATH": str(CHECKOUT / "src")}


def begin(box, words, calls):
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT],
        env=environment(box),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    client.stdin.write(json.dumps([server(box, *words), calls]))
    client.stdin.close()
    client.stdin = None
    return client


def ask(box, *calls, words=()):
    """(tools, what each call gives)."""
    client = begin(box, words, calls)
    out, err = client.communicate(timeout=300)
    assert client.returncode == 0, err
    lines = [json.loads(line) for line in out.splitlines()]
    assert len(lines) == 1 + len(calls), (out, err)
    return lines[0], lines[1:]


def gone(box):
    return not box.out("ps", "-aq") and not box.cgroups()


@requires_mcp
def test_what_its_tools_do(box):
    tools, told = ask(
        box,
        ("exec", {"command": "id -u; pwd; echo one > a; touch /x"}),
        ("exec", {"command": ["cat", "-"], "stdin": "typed", "workdir": "/tmp"}),
        (
            "files_write",
            {"path": "d/b", "content": base64.b64encode(b"\0\xff").decode(), "encoding": "base64"},
        ),
        ("files_read", {"path": "d/b", "encoding": "base64"}),
        ("files_read", {"path": "a"}),
        ("files_list", {}),
        ("snapshot", {"name": "first"}),
        ("exec", {"command": "rm -r a d; echo two > c; sleep 600 & ls"}),
        ("fork", {"name": "first"}),
        ("exec", {"command": "cat a; wc -c < d/b; ls; ls /proc | grep -c '^[0-9]'"}),
        ("reset", {}),
        ("files_list", {}),
        ("fork", {"name": "first"}),
        ("files_list", {}),
    )
    assert set(tools) == {
        "exec", "run_python", "files_read", "files_write", "files_list", "snapshot", "fork", "reset",
    } and all(tools.values())  # fmt: skip
    assert {kind for kind, _ in told} == {"ok"}, told
    found = [value for _, value in told]
    assert (
        found[0]["stdout"] == "0\n/work\n" and "Read-only" in found[0]["stderr"] and found[0]["status"] == 1
    )
    assert found[1]["stdout"] == "typed" and found[1]["status"] == 0
    assert base64.b64decode(found[3]["content"]) == b"\0\xff" and found[4]["content"] == "one\n"
    both = [{"name": "a", "kind": "file", "size": 4}, {"name": "d", "kind": "folder", "size": 60}]
    assert found[5]["entries"] == both and found[7]["stdout"] == "c\n"
    assert found[9]["stdout"].split()[:4] == ["one", "2", "a", "d"] and int(found[9]["stdout"].split()[4]) < 6
    assert found[11]["entries"] == [] and found[13]["entries"] == both
    eventually(lambda: gone(box))


@requires_mcp
def test_what_is_wrong_is_told_and_all_is_bounded(box):
    _, told = ask(
        box,
        ("exec", {"command": "sleep 600", "timeout": 0.5}),
        ("exec", {"command": "yes"}),
        ("exec", {"command": ["nosuch"]}),
        ("exec", {"command": "true", "timeout": 1e9}),
        ("exec", {"command": "x" * 300_000}),
        ("files_read", {"path": "/nosuch"}),
        ("files_write", {"path": "/etc/passwd", "content": "x"}),
        ("files_write", {"path": "x", "content": "?", "encoding": "base64"}),
        ("fork", {"name": "nosuch"}),
        ("run_python", {"code": "print(1)"}),
        ("exec", {"command": "echo still here"}),
        words=("--output", "100", "--memory", "64m"),
    )
    late, much, missing, *wrong, last = told
    assert late[1]["status"] == 137 and "time was over" in late[1]["killed"]
    assert len(much[1]["stdout"]) == 100 and "truncated" in much[1]
    assert missing[0] == "error" and "not found" in missing[1]
    assert [kind for kind, _ in wrong] == ["error"] * len(wrong), wrong
    assert "600 seconds" in wrong[0][1] and "read-only" in wrong[3][1] and "no python3" in wrong[-1][1]
    assert last == ["ok", {**last[1], "stdout": "still here\n"}]


@requires_mcp
def test_python_runs_in_a_sandbox(box):
    code = "import os, socket\nprint(6 * 7, os.getuid(), os.getcwd())\ntry:\n    socket.socket(socket.AF_PACKET)\nexcept OSError as error:\n    print(error.errno)\n{'a': [1]}"
    _, told = ask(
        box,
        ("run_python", {"code": code}),
        ("run_python", {"code": "1 / 0"}),
        ("run_python", {"code": "print('begun', flush=True)\nwhile True: pass", "timeout": 1}),
        ("run_python", {"code": "print('x' * 1000)"}),
        ("run_python", {"code": "import os; os.kill(os.getppid(), 9)"}),
        ("run_python", {"code": "object"}),
        words=(*HOSTS, "--output", "100"),
    )
    first, failed, late, much, _, last = told
    assert (
        first[0] == "ok" and first[1]["stdout"] == "42 0 /work\n97\n" and first[1]["value"] == {"a": [1]}
    ), first
    assert failed[1]["error"]["type"] == "ZeroDivisionError" and "line 1" in failed[1]["error"]["traceback"]
    assert "time was over" in late[1]["killed"] and len(much[1]["stdout"]) == 100 and "truncated" in much[1]
    assert last == ["ok", {**last[1], "value": None, "repr": "<class 'object'>"}]


@requires_mcp
def test_a_call_that_is_cancelled_ends_and_the_session_goes_on(box):
    """The command with all that it has started; what was there before stays."""
    find = "for one in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$one; echo; done | sort | grep '^sleep'"
    _, told = ask(
        box,
        ("exec", {"command": "sleep 611 >/dev/null 2>&1 & echo kept > kept"}),
        ("exec", {"command": "sleep 622 & sleep 633"}, 1),
        ("exec", {"command": find}),
        ("run_python", {"code": "kept = 1; import os; os.getppid()"}),
        ("run_python", {"code": "import subprocess, time; subprocess.Popen(['sleep', '644']); time.sleep(655)"}, 1),
        ("run_python", {"code": "import os; os.getppid()"}),
        ("exec", {"command": find}),
        ("fork", {"name": "nosuch"}),
        ("snapshot", {"name": "one"}),
        ("reset", {}, 0.01),
        ("exec", {"command": "cat kept 2>&1 || true"}),
        ("fork", {"name": "one"}),
        ("exec", {"command": "cat kept"}),
        words=HOSTS,
    )  # fmt: skip
    kinds = [kind for kind, _ in told]
    assert kinds[1] == kinds[4] == "cancelled" and kinds[9] in ("cancelled", "ok"), told
    assert told[2][1]["stdout"] == told[6][1]["stdout"] == "sleep 611 \n", told
    assert told[3][1]["value"] == told[5][1]["value"], told  # the interpreter is the same one
    assert told[12] == ["ok", {**told[12][1], "stdout": "kept\n", "status": 0}]
    eventually(lambda: gone(box))


@requires_mcp
@pytest.mark.parametrize("who", ["client", "server"])
def test_nothing_stays_of_one_that_is_killed(box, who):
    client = begin(box, ("--time-limit", "10m"), [("exec", {"command": "sleep 600"})])
    try:
        name = eventually(lambda: box.out("ps", "-q", "--no-trunc"))
        pid = int(box.out("inspect", "-f", "{{.State.Pid}}", name))
        eventually(lambda: "sleep" in box.out("top", name))
        serving = [
            int(each.name) for each in pathlib.Path("/proc").glob("[0-9]*")
            if parent(each.name) == client.pid and b"mcp" in (each / "cmdline").read_bytes()
        ]  # fmt: skip
        assert len(serving) == 1
        os.kill(client.pid if who == "client" else serving[0], signal.SIGKILL)
        eventually(lambda: gone(box))
        eventually(lambda: not os.path.exists(f"/proc/{pid}") and parent(serving[0]) in (None, client.pid))
        if who == "client":
            eventually(lambda: not os.path.exists(f"/proc/{serving[0]}"))
    finally:
        client.kill()
        client.communicate()


def parent(pid):
    try:
        return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return None


def test_without_the_package_it_says_what_to_install(box):
    code = (
        "import sys; sys.modules['mcp'] = None; from estiva.sdk.mcp import server;"
        "server.main(dict(image='box:1', options={}, timeout=1, output=1, root=None, run_root=None))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(box), capture_output=True, text=True)
    assert (
        done.returncode == 1 and "pip install 'estiva[mcp]'" in done.stderr and "Traceback" not in done.stderr
    )
