"""Completion in the shells themselves, on a terminal: what stands on the line after a tab. And the manual, as man shows it."""

import os
import pathlib
import pty
import re
import select
import shutil
import subprocess

import pytest

from enginekit import ESTIVA, IMAGE, host

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
HANGS = 120  # seconds; for what never comes


@pytest.fixture(scope="module")
def box():
    with host() as made:
        (folder := pathlib.Path(made.folder, "bin")).mkdir()
        (folder / "estiva").symlink_to(ESTIVA)
        made.env |= {"PATH": f"{folder}:{made.env['PATH']}", "TERM": "dumb", "HOME": made.folder, "PS1": "$ "}
        made.estiva("create", "--name", "only-one", "--network", "none", IMAGE, "true")
        made.estiva("tag", IMAGE, "localhost:5000/team/web:1")
        made.estiva("volume", "create", "only-volume")
        pathlib.Path(made.folder, "only-file.env").touch()
        yield made
        made.estiva("rm", "only-one")


class Shell:
    """A shell on a terminal of its own, with the completion in it."""

    def __init__(self, box, words, setup):
        self.master, slave = pty.openpty()
        self.child = subprocess.Popen(
            words,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=box.env,
            cwd=box.folder,
            start_new_session=True,
        )
        os.close(slave)
        self.shown = ""
        self.type(f"{setup}; echo re''ady\n", "ready\r\n")

    def type(self, text, until):
        """Type, and wait until what is shown since matches."""
        self.shown = ""
        os.write(self.master, text.encode())
        while not re.search(until, self.shown):
            assert select.select([self.master], [], [], HANGS)[0], (until, self.shown)
            self.shown += os.read(self.master, 4096).decode(errors="replace")
        return self.shown

    def close(self):
        os.close(self.master)
        self.child.kill()
        self.child.wait()


LINES = [
    ("estiva ren", "estiva rename "),
    ("estiva run --priv", "estiva run --privileged "),
    ("estiva run --network=no", "estiva run --network=none "),
    ("estiva run --network no", "estiva run --network none "),
    ("estiva volume cr", "estiva volume create "),
    ("estiva rm on", "estiva rm only-one "),
    ("estiva rmi localhost:", "estiva rmi localhost:5000/team/web:1 "),
    ("estiva run --env-file on", "estiva run --env-file only-file.env "),
    ("estiva run -v only-v", "estiva run -v only-volume:"),
    ("estiva ps --filter status=ex", "estiva ps --filter status=exited "),
    ("estiva load -i on", "estiva load -i only-file.env "),
]


@pytest.fixture(scope="module", params=["bash", "zsh"])
def shell(request, box):
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not installed")
    words, setup = {
        "bash": (["bash", "--noprofile", "--norc", "-i"], "bind 'set bell-style none'; source <(estiva completion bash)"),
        "zsh": (["zsh", "-f", "-i"], "unsetopt beep prompt_sp; PS1='$ '; autoload -U compinit; compinit -u -D; source <(estiva completion zsh)"),
    }[request.param]  # fmt: skip
    made = Shell(box, [*box.prefix, *words], setup)
    yield made
    made.close()


@pytest.mark.parametrize(("line", "whole"), LINES)
def test_a_tab_completes(shell, line, whole):
    """The line is not executed: it is made the argument of an echo first (ctrl-a)."""
    shell.type(f"{line}\t", re.escape(line[-1]))
    end = "" if whole.endswith(" ") else "|"
    shown = shell.type(f"{end}'\x01printf '<%s>' '\n", r"\n<[^%].*>")
    assert f"<{whole}{end}>" in shown


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
@pytest.mark.parametrize(("line", "whole"), LINES)
def test_fish_completes(box, line, whole):
    script = 'estiva completion fish | source; complete -C "$argv[1]"'
    done = subprocess.run(
        [*box.prefix, "fish", "--no-config", "-c", script, line], env=box.env, cwd=box.folder, capture_output=True, text=True,
        timeout=HANGS,
    )  # fmt: skip
    assert [each.split("\t")[0] for each in done.stdout.splitlines()] == [whole.strip().split(" ")[-1]], (
        done.stderr
    )


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_the_script_is_without_mistakes(box, name):
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    script = box.out("completion", name)
    subprocess.run([name, "-n"], input=script, text=True, check=True)
    done = box.estiva("completion", "tcsh", status=1)
    assert done.stderr == "estiva: no completion for tcsh\nhint: bash, zsh or fish\n"


# --- man ---


@pytest.fixture(scope="module")
def manual(box):
    assert box.out("man", f"{box.folder}/man").endswith(f" pages in {box.folder}/man/man1")
    return pathlib.Path(box.folder, "man", "man1")


def shows(path, width=80):
    done = subprocess.run(
        ["man", "--warnings=w", "-l", str(path)], capture_output=True, text=True, timeout=HANGS,
        env={**os.environ, "MANWIDTH": str(width), "LC_ALL": "C.UTF-8", "MANPAGER": "cat"},
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr == "", (path, done.stderr)
    return done.stdout


@pytest.mark.skipif(
    not shutil.which("man") or not shutil.which("groff"), reason="man or groff is not installed"
)
def test_man_shows_every_page_without_a_warning(manual):
    for path in sorted(manual.iterdir()):
        text = path.read_text()
        if not text.startswith(".so "):
            assert shows(path).startswith(path.stem.upper() + "(1)")
            continue
        assert (manual.parent / text.split()[1]).is_file()


@pytest.mark.skipif(
    not shutil.which("man") or not shutil.which("groff"), reason="man or groff is not installed"
)
def test_what_a_page_says(box, manual):
    text = " ".join(shows(manual / "estiva-run.1", 1000).split())
    for words in ("estiva run [OPTIONS] IMAGE [COMMAND] [ARG...]", "-e, --env K[=V] ...", "--rm remove the container when it",
                  "estiva run --rm alpine echo hello", "--security-opt OPT ... seccomp=FILE|unconfined, no-new-privileges,",
                  "128+n after signal n"):  # fmt: skip
        assert words in text, words
    text = shows(manual / "estiva-ps.1", 1000)
    assert "'{{.ID}}\\t{{.Names}}'" in text  # no backslash, quote or brace is lost
    done = subprocess.run(
        ["man", "-M", str(manual.parent), "estiva-container-run"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("ESTIVA-RUN(1)")
    assert box.out("man") == (manual / "estiva.1").read_text().rstrip("\n")
    assert shows(manual / "estiva-oci-create.1").startswith("ESTIVA-OCI-CREATE(1)")
