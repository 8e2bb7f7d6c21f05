"""A command that can't be executed is told with its reason, whoever starts it: run, start, exec, a build, a program,
an OCI runtime. The first line and the status are what they are without."""

import os
import shutil
import subprocess

import pytest

from enginekit import IMAGE, eventually, host

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
MISSING = 'exec: "sl": executable file not found in $PATH'
MEANT = "hint: did you mean ls?"
RUN = ("run", "--rm", "--network", "none")


@pytest.fixture(scope="module")
def box():
    with host() as made:
        os.mkdir(f"{made.folder}/v")
        for name, content in (("bash.sh", b"#!/bin/bash\n"), ("bom.sh", b"\xef\xbb\xbf#!/bin/sh\n")):
            with open(f"{made.folder}/v/{name}", "wb") as file:
                file.write(content)
            os.chmod(f"{made.folder}/v/{name}", 0o755)
        made.estiva("run", "-d", "--name", "up", "--network", "none", "-v", f"{made.folder}/v:/v", "--tmpfs", "/n",
                    IMAGE, "sleep", "1000")  # fmt: skip
        yield made


def told(box, *words, status):
    return box.estiva(*words, status=status).stderr.splitlines()


@pytest.mark.parametrize(
    "options", [(), ("--init",), ("--security-opt", "seccomp=unconfined"), ("-u", "1000")]
)
def test_run(box, options):
    assert told(box, *RUN, *options, IMAGE, "sl", status=127) == [f"estiva: {MISSING}", MEANT]


SECRET = (
    # how it is run; what is there; what is missing: as with docker, whose runc still has the capabilities of a
    # container when it looks, and whose init has not
    (("-u", "5"), (0, ""), (127, "no such file or directory")),
    (("-u", "5", "--init"), (126, "permission denied"), (126, "permission denied")),
    (("-u", "5", "--cap-drop", "ALL"), (126, "permission denied"), (126, "permission denied")),
    (("--init",), (0, ""), (127, "no such file or directory")),
)
MAY_NOT = "hint: its user may not go through /secret (mode 0700)"


@pytest.mark.parametrize(("options", "there", "missing"), SECRET)
def test_a_command_is_looked_up_with_the_rights_that_dockers_would_have(box, options, there, missing):
    os.makedirs(f"{box.folder}/secret/d", exist_ok=True)
    shutil.copy("/bin/busybox", f"{box.folder}/secret/d/true")
    os.chmod(f"{box.folder}/secret", 0o700)
    for name, (status, words) in (("true", there), ("none", missing)):
        path = f"/secret/d/{name}"
        lines = told(box, *RUN, "-v", f"{box.folder}/secret:/secret", *options, IMAGE, path, status=status)
        assert lines[:1] == ([f'estiva: exec: "{path}": {words}'] if words else [])
        assert (MAY_NOT in lines) == (status == 126)


def test_a_file_of_a_volume_whose_mounts_stay_until_it_has_been_looked_at(box):
    mount = ("-v", f"{box.folder}/v:/v")
    lines = told(box, *RUN, *mount, IMAGE, "/v/bash.sh", status=127)
    assert (
        lines[1] == "hint: /v/bash.sh begins with #!/bin/bash, and the image has no /bin/bash; it has /bin/sh"
    )


def test_what_execve_finds_with_the_filter_installed(box, tmp_path):
    """The default filter lets it show its root; where one does not, there is the message alone."""
    mount = ("-v", f"{box.folder}/v:/v")
    lines = told(box, *RUN, *mount, IMAGE, "/v/bom.sh", status=126)
    assert lines[1].startswith("hint: it begins with a byte order mark")
    profile = tmp_path / "profile.json"
    profile.write_text(
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["sendmsg"], "action": "SCMP_ACT_KILL_PROCESS"}]}'
    )
    lines = told(box, *RUN, *mount, "--security-opt", f"seccomp={profile}", IMAGE, "/v/bom.sh", status=126)
    assert lines == [
        'estiva: exec: "/v/bom.sh": exec format error: neither a program nor a script with a #! line',
        "hint: put #!/bin/sh on its first line",
    ]


def test_create_and_start(box):
    box.estiva("create", "--name", "later", "--network", "none", IMAGE, "sl")
    for words, status in ((("start", "later"), 1), (("start", "-a", "later"), 1)):
        assert MEANT in told(box, *words, status=status)
    assert box.estiva("inspect", "-f", "{{.State.Error}}", "later").stdout.strip() == MISSING
    box.estiva("rm", "later")


def test_exec(box):
    assert told(box, "exec", "up", "sl", status=126) == [f"estiva: {MISSING}", MEANT]
    assert told(box, "exec", "-d", "up", "sl", status=1)[-1] == MEANT
    box.estiva("exec", "up", "cp", "/bin/busybox", "/n/sh")
    (line,) = told(box, "exec", "up", "/n/sh", status=126)[1:]
    assert line == "hint: /n/sh is on a filesystem that is mounted noexec: mount it with exec"


def test_build(box):
    os.makedirs(f"{box.folder}/build", exist_ok=True)
    with open(f"{box.folder}/build/Dockerfile", "w") as file:
        file.write(f'FROM {IMAGE}\nRUN ["sl"]\n')
    lines = told(box, "build", "-q", "--network", "none", f"{box.folder}/build", status=1)
    assert f"estiva: Dockerfile:2: {MISSING}" in lines and lines[-1] == MEANT


def test_a_program(box):
    code = f"""import estiva
try: estiva.run({IMAGE!r}, ["sl"], network="none")
except estiva.EstivaError as error: print(type(error).__name__, error.hint)
"""
    assert box.python(code) == "CommandNotFound did you mean ls?\n"


def test_nobody_is_left_waiting_by_a_caller_that_is_killed(box):
    """The child that shows its root waits for its parent: with that gone it ends too."""
    for _ in range(5):
        caller = box.start("exec", "up", "sl", stderr=subprocess.DEVNULL)
        caller.kill()
        caller.wait(60)
    box.estiva("exec", "up", "sl", status=126)
    eventually(lambda: len(box.estiva("top", "up").stdout.splitlines()) == 2)
