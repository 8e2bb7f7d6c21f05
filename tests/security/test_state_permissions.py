"""K16: nobody but root reads what the engine keeps, whatever the umask of whoever calls it."""

import os
import re
import stat
import subprocess

import pytest

from enginekit import CHECKOUT, ESTIVA, IMAGE, Host, busybox_tar, eventually

# What containers see keeps the modes that they are to see; a 0700 directory above it keeps others out.
FOR_CONTAINERS = [
    (r"root/volumes/[^/]+/_data", 0o755),
    (r"root/containers/H/(hosts|hostname|resolv\.conf)", 0o644),
    (r"root/containers/H/upper", 0o755),
    (r"root/containers/H/work/work", 0o000),  # made by the kernel
    (r"root/layers/H/fs", 0o755),
    (r"root/initlayer(/etc|/proc|/sys|/dev|/dev/pts|/dev/shm)?", 0o755),
    (r"root/initlayer/(etc/(hosts|hostname|resolv\.conf)|dev/console)", 0o644),
    (r"root/cache/build/mounts/H/data", 0o755),
]
INSIDE = r"root/volumes/[^/]+/_data/|root/containers/H/upper/|root/layers/H/fs/|run/layers/H|root/cache/build/mounts/H/data/"


def kept(box):
    """(path with H for digests and ids, mode) of everything below both roots but containers' own files."""
    for top in ("root", "run"):
        for directory, _, files in os.walk(f"{box.folder}/{top}"):
            for name in ["", *files]:
                path = f"{directory}/{name}".rstrip("/")
                status = os.lstat(path)
                place = re.sub(r"[0-9a-f]{64}", "H", os.path.relpath(path, box.folder))
                if not stat.S_ISLNK(status.st_mode) and not re.match(INSIDE, place):
                    yield place, status.st_mode


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777], ids=oct)
def umask(request):
    return request.param


@pytest.fixture(params=["erofs", "dir"])
def box(request):
    made = Host(request.param)
    try:
        yield made
    except BaseException:
        made.tear_down()
        raise
    made.close()


def test_modes_of_state_do_not_depend_on_the_umask(box, umask):
    def estiva(*words):
        command = ["sh", "-c", f'umask {umask:o}; exec "$@"', "-", *box.prefix, ESTIVA, *words]
        done = subprocess.run(
            command, env=box.env, cwd=box.folder, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    estiva("import", busybox_tar(), IMAGE)
    look = "cat /etc/hosts /etc/hostname /etc/resolv.conf > /dev/null && umask && stat -c '%a' / /v /made /tmp && touch /tmp/x"
    mounts = ("-v", "volume:/v", "-v", f"{box.folder}/made:/made")
    modes = estiva("run", "--rm", "-u", "1000", *mounts, IMAGE, "sh", "-c", look).split()
    assert modes == ["0022", "755", "755", "755", "1777"]
    estiva("run", "-d", "--name", "up", IMAGE, "sh", "-c", "echo logged; exec sleep 1000")
    estiva("exec", "-u", "1000", "up", "cat", "/etc/hosts")
    os.mkdir(f"{box.folder}/context")
    with open(f"{box.folder}/context/Dockerfile", "w") as file:
        file.write(
            "FROM box:1\nCOPY --chown=1000 Dockerfile /a/b/\nRUN --mount=type=cache,target=/c touch /c/x /y\n"
        )
    estiva("build", "-q", "-t", "built:1", f"{box.folder}/context")
    estiva("commit", "up", "committed:1")
    estiva("save", "-o", f"{box.folder}/saved.tar", "built:1")
    estiva("load", "-q", "-i", f"{box.folder}/saved.tar")
    checked = set()
    for place, mode in kept(box):
        kind = 0o700 if stat.S_ISDIR(mode) else 0o600
        expected = next((other for pattern, other in FOR_CONTAINERS if re.fullmatch(pattern, place)), kind)
        assert stat.S_IMODE(mode) == expected, (place, oct(mode))
        checked.add(place)
    assert {"root", "run", "root/estiva.db", "root/blobs/sha256", "run/containers/H/state.json"} <= checked
    assert {"root/containers/H/log.json", "root/containers/H/hosts", "root/volumes/volume/_data"} <= checked
    assert any(place.startswith("root/estiva.db-") for place in checked)


def test_temporary_files_are_private_while_they_are_written(box):
    """A fifo as the source keeps an import waiting halfway: what is there then is 0600 too."""
    box.estiva("images")
    fifo = f"{box.folder}/fifo"
    os.mkfifo(fifo)
    child = box.start("import", fifo, IMAGE, stdout=subprocess.DEVNULL)
    with open(busybox_tar(), "rb") as source, open(fifo, "wb") as sink:
        sink.write(source.read(2_000_000))
        sink.flush()
        ingest = f"{box.folder}/root/ingest"
        for status in eventually(lambda: halfway(child.pid, ingest)):
            assert stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o600
        sink.write(source.read())
    assert child.wait(120) == 0


def halfway(pid, ingest):
    """The files in ingest/ that a process has open and has written to, with or without a name."""
    fds = f"/proc/{pid}/fd"
    inside = [fd for fd in os.listdir(fds) if os.readlink(f"{fds}/{fd}").startswith(ingest + "/")]
    return [status for status in (os.stat(f"{fds}/{fd}") for fd in inside) if status.st_size > 100_000]


def as_nobody(box):
    """Words before a command; it finds the checkout at box.folder/checkout, where nobody can reach it for sure."""
    os.chmod(box.folder, 0o755)
    os.mkdir(f"{box.folder}/checkout")
    script = f'mount --bind {CHECKOUT} {box.folder}/checkout && exec "$@"'
    words = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    return [*box.prefix, "unshare", "-m", "sh", "-c", script, "-", *words]


def test_others_get_nothing(box):
    """As nobody: no list, no file, no database; and a line that says why."""
    box.estiva("import", busybox_tar(), IMAGE)
    nobody = as_nobody(box)
    for name in ("root", "root/blobs", "root/estiva.db", "run", "run/names"):
        assert subprocess.run([*nobody, "ls", f"{box.folder}/{name}"], capture_output=True).returncode
    for words in (("images",), ("ps",), ("start", "x"), ("exec", "x", "y"), ("system", "check")):
        command = [*nobody, f"{box.folder}/checkout/estiva", *words]
        done = subprocess.run(command, capture_output=True, text=True, env=box.env)
        lines = done.stderr.splitlines()
        assert done.returncode == 1
        assert len(lines) == 2 and lines[1] == "hint: Estiva needs root for this", done.stderr
        assert lines[0] == f"estiva: {box.folder}/root/blobs: permission denied"


def test_containers_are_for_root_only_yet(box):
    """With roots of one's own the store works, but nothing runs."""
    own = f"{box.folder}/own"
    os.mkdir(own)
    os.chown(own, 65534, 65534)
    nobody = as_nobody(box)
    env = {**box.env, "ESTIVA_ROOT": f"{own}/root", "ESTIVA_RUN_ROOT": f"{own}/run"}
    command = [*nobody, f"{box.folder}/checkout/estiva", "run", IMAGE, "true"]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert (done.returncode, done.stderr) == (
        125,
        "estiva: containers can only be run by root, yet\nhint: use sudo\n",
    )
