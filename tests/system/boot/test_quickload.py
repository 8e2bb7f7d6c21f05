"""The modules of a cold start come from one file (boot/quickload.py): never a stale one, nor another's."""

import fcntl
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

from enginekit import IMAGE, host
from estiva.boot.modules import MODULES

SOURCE = pathlib.Path(__file__).parents[3] / "src"
SLOW = {"estiva", "estiva.boot", "estiva.boot.quickload"}  # what has to be there before the file
STRANGER = 54321
ASK = """
import sys
sys.path.insert(0, sys.argv[1])
from estiva.boot import quickload
quickload.install("estiva-oci")
from estiva.runtime import sync
print(type(sync.__spec__.loader).__name__, getattr(sync, "CHANGED", ""), sync.__file__)
"""


def bare(folder):
    """What `estiva-oci` starts from, as an installer without bytecode leaves it."""
    tree = folder / "src"
    modules = [name.replace(".", "/") for name in ("estiva", *MODULES["estiva-oci"])]
    names = {f"{name}{end}" for name in modules for end in (".py", "/__init__.py")}
    names |= {f"estiva/boot/{path.name}" for path in (SOURCE / "estiva/boot").glob("*.py")}
    for name in sorted(names):
        if (SOURCE / name).exists():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(SOURCE / name, tree / name)
    return tree


def whole(folder):
    """All that an installer without bytecode leaves."""
    return shutil.copytree(SOURCE, folder / "src", ignore=shutil.ignore_patterns("__pycache__"))


def copy(folder, program):
    tree = bare(folder) if program == "estiva-oci" else whole(folder)
    env = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-m", "estiva.boot.writer", program], env=env, check=True)
    return tree


@pytest.fixture
def tree(tmp_path):
    return copy(tmp_path, "estiva-oci")


def written(tree, program="oci"):
    """The file, if it is more than a launcher's .pyc."""
    name = "launcher_oci" if program == "oci" else "launcher"
    found = list((tree / "estiva/boot/__pycache__").glob(f"{name}.cpython-*.pyc*"))
    assert len(found) < 2, found
    return found[0] if found and found[0].stat().st_size > 100_000 else None


def identity(file):
    found = file.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def ask(tree):
    asked = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", ASK, str(tree)], capture_output=True, text=True, check=True
    )
    assert asked.stderr == ""
    loader, changed, file = asked.stdout.split(" ", 2)
    assert file.strip() == str(tree / "estiva/runtime/sync.py")
    return loader, changed


def start(tree, *options, **more):
    """`estiva-oci --help`, as its script starts it."""
    launcher = tree / "estiva/boot/launcher_oci.py"
    words = [sys.executable, "-I", "-S", *options, launcher, "kill", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, **more)
    assert done.stdout.startswith("usage: estiva-oci kill") and done.stderr == "" or "-v" in options
    return done.stderr


def searched(told):
    """The modules of ours that were found by a search, of what `python -v` told."""
    return {
        line.split("'")[1] for line in told.splitlines() if "import 'estiva" in line and "SourceFile" in line
    }


def test_a_module_comes_from_the_file(tree):
    assert ask(tree) == ("Finder", "")


def test_a_changed_source_is_what_counts(tree):
    with open(tree / "estiva/runtime/sync.py", "a") as source:
        source.write("CHANGED = 'yes'\n")
    assert ask(tree) == ("SourceFileLoader", "yes")


def test_a_source_of_the_same_size_and_another_time(tree):
    path = tree / "estiva/runtime/sync.py"
    found = path.stat()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 1))
    assert ask(tree)[0] == "SourceFileLoader"


@pytest.mark.parametrize("content", [b"", b"[", b"{" + bytes(100), b"\xa5" * 64, b"i\0\0\0\0", b"\xff" * 64])
@pytest.mark.parametrize("kept", ["nothing", "the mark"])
def test_a_broken_file_is_passed_over(tree, content, kept):
    file = written(tree)
    whole = file.read_bytes()
    mark = b"\0the modules of a cold start of estiva\0"
    assert whole.count(mark) >= 1
    file.write_bytes((whole.partition(mark)[0] + mark if kept == "the mark" else b"") + content)
    assert ask(tree)[0] == "SourceFileLoader"


def test_another_interpreter_s_file_is_passed_over(tree):
    file = written(tree)
    file.write_bytes(b"\0\0\r\n" + file.read_bytes()[4:])
    assert ask(tree)[0] == "SourceFileLoader"


def test_a_moved_tree(tree):
    moved = tree.parent / "moved"
    tree.rename(moved)
    assert ask(moved) == ("Finder", "")


# -- whose file it is


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_others_can_write_to(tree, mode):
    written(tree).chmod(mode)
    assert ask(tree)[0] == "SourceFileLoader"


@pytest.mark.parametrize("mode", [0o775, 0o777, 0o1777])
def test_a_folder_that_others_can_write_to(tree, mode):
    written(tree).parent.chmod(mode)
    assert ask(tree)[0] == "SourceFileLoader"
    before = identity(written(tree))
    start(tree)
    assert identity(written(tree)) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_file_of_another_user(tree):
    os.chown(written(tree), STRANGER, -1)
    assert ask(tree)[0] == "SourceFileLoader"
    start(tree)
    assert written(tree).stat().st_uid == os.geteuid() and ask(tree) == ("Finder", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_owner_of_the_sources_is_trusted_with_the_file(tree):
    subprocess.run(["chown", "-R", str(STRANGER), tree], check=True)
    assert ask(tree) == ("Finder", "")


def test_a_planted_link_is_not_followed(tree, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("whole")
    file = written(tree)
    file.unlink()
    pathlib.Path(f"{file}.new").symlink_to(victim)
    start(tree)
    assert victim.read_text() == "whole" and not victim.stat().st_mode & 0o111 and ask(tree) == ("Finder", "")


# -- who writes it


@pytest.fixture
def fresh(tmp_path):
    return bare(tmp_path)


def test_the_first_start_writes_it_and_uses_it(fresh):
    assert written(fresh) is None
    first = searched(start(fresh, "-v"))
    assert first == {*SLOW, "estiva.boot.writer", "estiva.boot.modules"}
    assert written(fresh).stat().st_mode & 0o777 == 0o644
    assert searched(start(fresh, "-v")) == SLOW


def test_it_is_written_whatever_the_umask(fresh):
    start(fresh, preexec_fn=lambda: os.umask(0o077))
    assert written(fresh).stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("changed", ["runtime/sync.py", "boot/modules.py"])
def test_a_start_after_a_change_writes_it_anew(tree, changed):
    before = identity(written(tree))
    start(tree)
    assert identity(written(tree)) == before
    with open(tree / "estiva" / changed, "a") as source:
        source.write("CHANGED = 'yes'\n")
    start(tree)
    assert identity(written(tree)) != before
    assert ask(tree) == ("Finder", "yes" if changed == "runtime/sync.py" else "")


def test_a_stale_pyc_is_not_taken_over(fresh):
    """Of the same size and second as the source: the header of a .pyc can't tell the two apart."""
    path = fresh / "estiva/version.py"
    sync = fresh / "estiva/runtime/sync.py"
    with open(sync, "a") as source:
        source.write("CHANGED = 'old'\n")
    os.utime(sync, ns=(10**18, 10**18))
    subprocess.run([sys.executable, "-m", "compileall", "-q", sync.parent, path.parent], check=True)
    made = next(sync.parent.glob("__pycache__/sync.*.pyc"))
    os.utime(made, ns=(10**18 + 10, 10**18 + 10))
    sync.write_text(sync.read_text().replace("'old'", "'new'"))
    os.utime(sync, ns=(10**18 + 20, 10**18 + 20))
    start(fresh)
    assert ask(fresh) == ("Finder", "new")


def test_not_where_bytecode_is_not_wanted(fresh):
    start(fresh, "-B")
    assert not list(fresh.rglob("*.pyc*"))


def test_it_is_the_launcher_s_pyc_to_others(fresh):
    start(fresh)
    before = identity(written(fresh))
    subprocess.run([sys.executable, "-m", "compileall", "-q", fresh / "estiva/boot"], check=True)
    assert identity(written(fresh)) == before
    code = "import importlib.util as u, sys; print(u.spec_from_file_location('x', sys.argv[1]).loader.get_code('x'))"
    done = subprocess.run(
        [sys.executable, "-c", code, fresh / "estiva/boot/launcher_oci.py"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "launcher_oci.py" in done.stdout


def test_many_at_once(fresh):
    words = [sys.executable, "-I", "-S", fresh / "estiva/boot/launcher_oci.py", "kill", "--help"]
    running = [
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(12)
    ]
    told = {process.communicate(timeout=300)[0] for process in running}
    assert len(told) == 1 and told.pop().startswith("usage: estiva-oci kill")
    assert searched(start(fresh, "-v")) == SLOW
    assert written(fresh) and not list(fresh.rglob("*.new"))


def test_what_a_killed_writer_left_is_overwritten(fresh):
    (fresh / "estiva/boot/__pycache__").mkdir()
    left = f"estiva/boot/__pycache__/launcher_oci.{sys.implementation.cache_tag}.pyc.new"
    (fresh / left).write_bytes(b"half")
    start(fresh)
    assert written(fresh) and not (fresh / left).exists()


def test_one_writes_and_the_others_go_on(fresh):
    folder = fresh / "estiva/boot/__pycache__"
    folder.mkdir()
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        start(fresh)
        assert written(fresh) is None
    finally:
        os.close(lock)
    start(fresh)
    assert written(fresh)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("what", ["absent", "stale"])
def test_read_only_sources(tmp_path, what):
    tree = whole(tmp_path)
    if what == "stale":
        start(tree)
        os.utime(tree / "estiva/runtime/sync.py")
    script = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$2" -I -S "$1/estiva/boot/launcher_oci.py" --version'
    words = ["unshare", "-m", "sh", "-c", script, "sh", tree, sys.executable]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("estiva-oci version") and done.stderr == ""
    assert what == "stale" or not list(tree.rglob("*.pyc*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_an_ordinary_user_uses_what_root_wrote_and_writes_nothing():
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        os.chmod(name, 0o755)
        tree = bare(pathlib.Path(name))
        start(tree, user=STRANGER, group=STRANGER, extra_groups=[])
        assert not list(tree.rglob("*.pyc*"))
        start(tree)
        told = start(tree, "-v", user=STRANGER, group=STRANGER, extra_groups=[])
        assert searched(told) == SLOW


# -- where other packages are


def test_other_packages_are_found_by_site_when_they_are_wanted(tmp_path):
    tree = copy(tmp_path, "estiva")
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    packages = next(venv.glob("lib/python3.*/site-packages"))
    (tmp_path / "editable").mkdir()
    (tmp_path / "editable/estiva_test_there.py").write_text("")
    (packages / "editable.pth").write_text(f"{tmp_path}/editable\n")
    (packages / "estiva_test_here.py").write_text("")
    (tree / "enum.py").write_text(
        "raise SystemExit('a neighbour of ours in front of the standard library')\n"
    )
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from estiva.boot import packages; packages.install()\n"
        "import enum; assert 'site' not in sys.modules\n"
        "import estiva_test_here, estiva_test_there\n"
        "try: import estiva_test_nowhere\n"
        "except ModuleNotFoundError: print('well')"
    )
    words = [venv / "bin/python3", "-I", "-S", "-c", code, tree]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "well\n"


# -- a whole run


@pytest.mark.parametrize("network", ["none", "bridge"])
def test_a_cold_run_finds_all_its_modules_there(tmp_path, network):
    launcher = copy(tmp_path, "estiva") / "estiva/boot/launcher.py"
    with host() as box:
        ran = subprocess.run(
            [*box.prefix, sys.executable, "-I", "-S", "-B", "-v", launcher, "run", "--rm", "--network", network, IMAGE, "true"],
            env={**os.environ, **box.env}, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300,
        )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    loaded = [line.split("'")[1] for line in ran.stderr.splitlines() if line.startswith("import 'estiva")]
    assert "estiva.engine.monitor.monitor" in loaded and searched(ran.stderr) == SLOW
    assert "import 'site'" not in ran.stderr


@pytest.mark.parametrize("program", ["estiva", "estiva-oci"])
def test_a_directory_as_stdin(program):
    """On which Python would not start."""
    checkout = pathlib.Path(__file__).resolve().parents[3]
    stdin = os.open("/etc", os.O_RDONLY)
    try:
        done = subprocess.run([checkout / program, "--version"], stdin=stdin, capture_output=True, text=True)
    finally:
        os.close(stdin)
    assert (done.returncode, done.stderr) == (0, "")
