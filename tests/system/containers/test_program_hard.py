"""The Python API where the program, its memory, its disk or its use of it is out of the ordinary."""

import pytest

from enginekit import CHECKOUT, host


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


@pytest.mark.parametrize(
    ("name", "frozen", "runs"),
    [("app", True, 1), ("python-app", True, 1), ("app", False, 1), ("python-app", False, 3)],
)
def test_a_program_that_is_its_own_executable(box, name, frozen, runs):
    """It is never run without end. (One that is named python and says nothing is tried: twice, then no more.)"""
    out = box.python(f"""
import os, subprocess, sys
open("runs", "w").close()
with open({name!r}, "w") as file:
    file.write('''#!{CHECKOUT}/.venv/bin/python3
import os, sys
with open("{box.folder}/runs", "a") as file: file.write("run\\\\n")
sys.executable = sys._base_executable = "{box.folder}/{name}"
if {frozen}: sys.frozen = True
import estiva
try:
    print(estiva.run("box:1", ["sh", "-c", "echo x$ESTIVA_SPAWNER"], network="none").output, end="")
except estiva.EstivaError as error:
    print(type(error).__name__)
''')
os.chmod({name!r}, 0o755)
print(subprocess.run(["./" + {name!r}], capture_output=True, text=True, timeout=60).stdout, end="")
print(open("runs").read().count("run"))
""")
    first, count = out.split()
    assert first == ("x" if runs == 1 else "EngineError") and int(count) <= runs


NO_MEMORY = """
import resource, estiva
estiva.run("box:1", ["true"], network="none")
size = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize")) << 10
resource.setrlimit(resource.RLIMIT_AS, (size + (4 << 20), -1))
def tell(call):
    try:
        print(call())
    except estiva.EstivaError as error:
        print(type(error).__name__)
"""


def test_no_memory_for_the_output(box):
    """The container is killed, and nobody waits for one another."""
    out = box.python(
        NO_MEMORY
        + """
words = ["sh", "-c", "yes | head -c 100000000; sleep 1000"]
tell(lambda: estiva.run("box:1", words, max_output=10**8, network="none", timeout=30))
def block():
    with estiva.container("box:1", network="none") as box:
        return box.exec(words, max_output=10**8, timeout=30)
tell(block)
""",
        timeout=60,
    )
    assert out.split() == ["Unavailable", "Unavailable"]
    assert box.out("ps", "-aq") == ""


def test_an_exception_while_output_waits_to_be_read(box):
    out = box.python(
        """
import estiva
from estiva.sdk import pipes
class Odd(Exception): pass
def read(self, fd):
    raise Odd
pipes.Pipes._read = read
try:
    estiva.run("box:1", ["sh", "-c", "yes"], network="none")
except Odd:
    print("odd")
""",
        timeout=60,
    )
    assert out == "odd\n"
    assert box.out("ps", "-aq") == ""


def test_a_monitor_that_does_not_answer(box):
    """The end of a block has an end."""
    out = box.python(
        """
import estiva, os, signal
from estiva.engine.launch import launch
from estiva.engine.state import runstate
from estiva.runtime import state
launch.PATIENCE = 1
with estiva.container("box:1", network="none") as box:
    live = runstate.read(box.engine.paths, box.id)
    os.kill(live["monitor"], signal.SIGSTOP)
print(state.alive(live["pid"], live["start_time"]), box.running)
print(estiva.run("box:1", ["echo", "on"], network="none").output)
""",
        timeout=60,
    )
    assert out.split() == ["False", "False", "on"]
    assert box.out("ps", "-aq") == ""


def test_a_run_writes_no_log(box):
    out = box.python(f"""
import estiva, pathlib, threading
engine = estiva.Engine()
def run():
    words = ["sh", "-c", "seq 1000; cat /go"]
    try: estiva.run("box:1", words, volumes={{"{box.folder}/fifo": "/go"}}, network="none", engine=engine)
    except Exception as error: print(error)
import os, time
os.mkfifo("fifo")
thread = threading.Thread(target=run); thread.start()
go = os.open("fifo", os.O_WRONLY)
print(len(list(pathlib.Path(engine.paths.containers).iterdir())),
      list(pathlib.Path(engine.paths.containers).glob("*/log*")))
os.close(go); thread.join()
with estiva.container("box:1", ["sh", "-c", "echo said; sleep 1000"], network="none", name="said") as box:
    log = pathlib.Path(engine.paths.container(box.id), "log.json")
    while not log.exists() or not log.stat().st_size: time.sleep(0.01)
    print(b"said" in log.read_bytes())
""")
    assert out.splitlines() == ["1 []", "True"]


def test_a_full_disk_loses_no_result(box):
    out = box.python(
        """
import os, subprocess, sys
os.unshare(os.CLONE_NEWNS)
subprocess.run("mount --make-rprivate / && mkdir -p small && mount -t tmpfs -o size=24m none small", shell=True, check=True)
os.environ.update(ESTIVA_ROOT=os.path.abspath("small/root"), ESTIVA_RUN_ROOT=os.path.abspath("small/run"))
import estiva
"""
        + f"""
sys.path.insert(0, {str(CHECKOUT / "tests/support")!r})
from enginekit import busybox_tar, ESTIVA
subprocess.run([ESTIVA, "import", busybox_tar(), "box:1"], check=True, stdout=subprocess.DEVNULL)
"""
        + """
fill = ["sh", "-c", "dd if=/dev/zero of=/x bs=1M count=100 2>/dev/null; echo $?; exit 7"]
for _ in range(3):
    result = estiva.run("box:1", fill, network="none")
    print(result.status, result.output.strip())
    while os.statvfs("small").f_bfree << 12 < 8 << 20: pass  # its files go a moment after it
with estiva.container("box:1", network="none") as box:
    print(box.exec(fill).status)
print(estiva.run("box:1", ["echo", "well"], network="none").output.strip())
"""
    )
    assert out.split() == ["7", "1"] * 3 + ["7", "well"]


SIMPLE = 'import estiva\nestiva.run("box:1", ["true"], network="none")\n'
SEVERAL = """
import estiva
from concurrent.futures import ThreadPoolExecutor
def one(number):
    estiva.run("box:1", ["true"], network="none")
with ThreadPoolExecutor(50) as pool:
    list(pool.map(one, range(100)))
"""
ROOTS = """
import estiva
other = estiva.Engine("other/root", "other/run")
for _ in range(3):
    estiva.run("box:1", ["true"], network="none")
    try: estiva.run("box:1", ["true"], network="none", pull="never", engine=other)
    except estiva.EstivaError: pass
    try: estiva.run("box:1", ["nosuch"], network="none")
    except estiva.EstivaError: pass
with estiva.container("box:1", network="none") as box:
    box.exec(["true"])
"""
FORKED = (
    SIMPLE
    + "import os\nif not os.fork():\n    estiva.run('box:1', ['true'], network='none')\nelse:\n    os.wait()\n"
)
AT_EXIT = """
import atexit
atexit.register(lambda: estiva.run("box:1", ["true"], network="none"))
import estiva
estiva.run("box:1", ["true"], network="none")
"""


@pytest.mark.parametrize("code", [SIMPLE, SEVERAL, ROOTS, FORKED, AT_EXIT])
def test_python_has_nothing_to_warn_of(box, code):
    out = box.python(f"""
import subprocess, sys
done = subprocess.run([sys.executable, "-X", "dev", "-W", "error", "-c", {code!r}], capture_output=True, text=True)
print(done.returncode, done.stderr)
""")
    assert out.strip() == "0"
