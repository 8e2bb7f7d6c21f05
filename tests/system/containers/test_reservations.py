"""Containers of a Python program that were half started before they were asked for (engine/monitor/reservation.py)."""

import pytest

from enginekit import IMAGE, eventually, host
from killkit import assert_nothing_left, assert_well, traces

PRELUDE = f"""
import estiva, os, re, signal, sys, time
from _socket import MSG_PEEK
from estiva.engine.launch import reserve

def run(*words, **options):
    return estiva.run({IMAGE!r}, list(words), **{{"network": "none", **options}})

def offer():
    "The id of the container that comes next, once it is ready to be taken."
    while not reserve._offered:
        run("true")
    return reserve._offered[0].recv(64, MSG_PEEK).decode()

def workers():
    "The pids of the spawner's children."
    parents = {{}}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{{name}}/stat") as file:
                parents.setdefault(int(file.read().rpartition(")")[2].split()[1]), []).append(int(name))
        except OSError:
            pass
    return [pid for child in parents.get(os.getpid(), []) for pid in parents.get(child, [])]
"""

# What a container sees of itself, but for its id.
LOOK = r"""
sed 's/^[0-9]* [0-9]* [0-9]*:[0-9]* //' /proc/self/mountinfo | sort
head -n 1 /proc/self/mountinfo | cut -d ' ' -f 5
cat /proc/self/cgroup /proc/1/environ /proc/self/limits /proc/net/dev /proc/self/setgroups
grep -E '^(Name|Umask|Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp|SigIgn|SigCgt|NSpid|Cpus_allowed_list)' /proc/1/status
cat /proc/1/oom_score_adj /proc/sys/kernel/hostname /proc/sys/kernel/domainname
ls -ld /proc | cut -c 1-10; ls -l /proc/self/fd | grep -o '[0-9]* ->.*' | sed 's/\[[0-9]*\]//'
ls -lR /dev | sed 's/.*rw/rw/; s/[A-Z][a-z][a-z] .[0-9] [0-9:]*//'
ls -ld / /proc /sys /dev /etc /etc/hosts /tmp | cut -c 1-10
cat /etc/hosts /etc/resolv.conf /etc/hostname
ls /proc/acpi /sys/firmware /sys/fs/cgroup /sys/fs/cgroup/* | head -200
test -s /proc/keys; echo $?; cat /proc/interrupts | wc -c | sed 's/^[1-9].*/some/'
echo x > /proc/sys/kernel/hostname; echo x > /sys/kernel/mm/ksm/run; mount -t proc proc /tmp; echo $? $$
ps | grep -v 'sed\|grep\|\[exe\]' | cut -c 1-60
ip link; cat /proc/net/unix /proc/net/tcp; hostname; pwd; id; umask; env | sort
"""


@pytest.fixture(scope="module")
def box():
    with host() as made:
        made.estiva("run", "--rm", IMAGE, "true")
        yield made


@pytest.mark.parametrize(
    "options",
    ["", "memory='64m', user='user', workdir='/tmp', env={'A': '1'}", "volumes={'/usr/share': '/dat/a'}",
     "tmpfs=['/run/x']", "read_only=True", "network='bridge'", "init=True", "cap_drop=['ALL']", "privileged=True"],
)  # fmt: skip
def test_it_is_as_any_other(box, options):
    """The first of them is started from the beginning, the second one has been made before."""
    out = box.python(
        PRELUDE
        + f"""
def look():
    done = run("sh", "-c", {LOOK!r}, {options})
    text = done.output + done.stderr.decode()
    mine = re.search("containers/([0-9a-f]{{64}})/", text)[1]
    text = text.replace(mine, "ID").replace(mine[:12], "ID")
    text = re.sub(r"10\\.201[0-9.]+|@if[0-9]+|02:e5:[0-9a-f:]+", "ADDRESS", text)
    return mine, re.sub(r"eth0:[ 0-9]+", "eth0: COUNTERS", text).splitlines()

reserve.prepare, prepare = (lambda plan: None), reserve.prepare
plain = look()[1]
reserve.prepare = prepare
run("true", {options})
wanted = offer()
mine, found = look()
assert wanted == mine, (wanted, mine)
for a, b in zip(plain, found):
    print(a, b, sep="\\n") if a != b else None
print(len(plain), len(found))
"""
    )
    first, second = out.split()[-2:]
    assert out == f"{first} {second}\n" and first == second and int(first) > 150, out
    assert_nothing_left(box)


def test_one_that_nobody_takes_is_thrown_away(box):
    """Its init, cgroup and run folder, while the program goes on; what fits no reservation is run all the same."""
    out = box.python(
        PRELUDE
        + """
first = offer()
taken = workers()
channel = reserve._offered[0]
assert channel.recv(64) and channel.recv(1) == b""
runs = f"{os.environ['ESTIVA_RUN_ROOT']}/containers"
print(first in os.listdir(runs), run("hostname").output[:12] == first[:12])
kept = offer()
print(run("sh", "-c", "hostname; cd /sys/fs/cgroup; cat memory.max memory/memory.limit_in_bytes 2>/dev/null", memory="64m").output.split() == [
    kept[:12], "67108864"])
for options in ({"privileged": True}, {"tmpfs": ["/dev/x"]}, {"hostname": "me"}, {"pids_limit": 5}):
    kept = offer()
    print(run("hostname", **options).output == (options.get("hostname") or kept[:12]) + "\\n")
for bad in ({"user": "nobody-there"}, {"workdir": "/etc/passwd"}, {"image": "nosuch"}, {"nonsense": 1}, {"memory": "junk"}):
    kept = offer()
    try:
        estiva.run(bad.pop("image", "box:1"), ["nosuch"], network="none", pull="never", **bad)
    except estiva.EstivaError as error:
        print(type(error).__name__)
offer()
os.kill(os.getpid(), signal.SIGKILL)
""",
        status=-9,
    )
    assert out.split() == [
        "False", "False", "True", "True", "True", "True", "True",
        "InvalidInput", "EngineError", "NotFound", "InvalidInput", "InvalidInput",
    ]  # fmt: skip
    assert_nothing_left(box)


def test_an_idle_spawner_lets_go_of_everything(box):
    """A while after the last container: no lock, no cgroup, no worker that has memory of its own."""
    out = box.python(
        PRELUDE
        + """
for _ in range(5):
    run("true")
offer()
deadline = time.monotonic() + 60
def private(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_Dirty"))
def idle():
    try:
        return len(left) == 1 and private(left[0]) < 1000
    except OSError:
        return False  # it ended just now
while not (left := workers()) or not idle() and time.monotonic() < deadline:
    time.sleep(0.1)
print(idle())
print(os.listdir(f"{os.environ['ESTIVA_RUN_ROOT']}/containers"))
print(sorted(os.readlink(f"/proc/{left[0]}/fd/{n}").partition(":")[0] for n in os.listdir(f"/proc/{left[0]}/fd")))
print(run("echo", "again").output)
"""
    )
    assert out.split("\n")[:4] == [
        "True", "[]", "['/dev/null', '/dev/null', '/dev/null', 'anon_inode', 'socket', 'socket']", "again",
    ]  # fmt: skip


def test_workers_keep_no_fds(box):
    """Whatever the containers did: their pipes, locks and logs are closed when a worker is free again."""
    out = box.python(
        PRELUDE
        + """
def fds():
    try:
        return max(len(os.listdir(f"/proc/{pid}/fd")) for pid in workers())
    except OSError:
        return 0  # one has just ended
most = 0
for turn in range(24):
    run("cat", input=b"x" * 300000)
    run("true", input=b"x" * 300000)
    run("sh", "-c", "yes | head -c 300000; echo e >&2; exit 3")
    if turn % 8 == 0:
        run("echo", network="bridge", ports={80: 8099})
    run("true", init=True, memory="32m", volumes={"/usr/share": "/x"})
    most = max(most, fds())
print(most)
"""
    )
    assert int(out) < 30
    assert_nothing_left(box)


KILLING = """
import random, threading
rng = random.Random({seed})
reserve.TRIES = 10**9
done = []

def shoot():
    while not done:
        time.sleep(rng.random() * 0.03)
        victims = workers()
        victims += [pid for worker in victims for pid in below(worker)]
        if victims:
            try: os.kill(rng.choice(victims), signal.SIGKILL)
            except ProcessLookupError: pass

def below(pid):
    with open(f"/proc/{{pid}}/task/{{pid}}/children") as file:
        return map(int, file.read().split())

def safely(call, *arguments):
    while not done:
        try: call(*arguments)
        except (OSError, estiva.EstivaError): pass

threads = [threading.Thread(target=safely, args=(shoot,)), *[threading.Thread(target=safely, args=(run, "true")) for _ in range({runners})]]
for thread in threads:
    thread.start()
time.sleep(4)
done.append(1)
for thread in threads:
    thread.join()
time.sleep(0.5)  # who was shot last may still be dying
for _ in range(3):
    print(run("echo", "well").output)
"""


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_any_moment(box, seed):
    """Workers, monitors, inits that wait and inits that run; one thread alone meets more reservations."""
    out = box.python(PRELUDE + KILLING.format(seed=seed, runners=1 + 2 * (seed % 2)))
    assert out.split() == ["well"] * 3
    assert_well(box)
    # a worker that ends after the program, and is killed by that, leaves what the next command sweeps
    eventually(lambda: box.estiva("system", "check") and not traces(box))
    assert_nothing_left(box)


def test_a_program_that_forks_and_has_threads(box):
    """The child of a fork has a spawner of its own, and takes nothing that its parent reserved."""
    out = box.python(
        PRELUDE
        + """
import concurrent.futures
mine = offer()
if (child := os.fork()) == 0:
    seen = [run("hostname").output.strip() for _ in range(4)]
    print(mine[:12] in seen, len(set(seen)), flush=True)
    os._exit(0)
os.waitpid(child, 0)
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    print(len(set(pool.map(lambda _: run("hostname").output, range(40)))))
"""
    )
    assert out.split() == ["False", "4", "40"]
    assert_nothing_left(box)


def test_what_was_mounted_is_free_when_it_has_ended(box):
    """A place of the host's, though the kernel takes a container's mounts down a moment after it has ended."""
    out = box.python(
        """
import ctypes, estiva, os, subprocess
libc = ctypes.CDLL(None)
assert libc.unshare(0x20000) == 0  # a mount namespace of this program's own
subprocess.run(["mount", "--make-rprivate", "/"], check=True)
os.mkdir("place")
for _ in range(15):
    subprocess.run(["mount", "-t", "tmpfs", "none", "place"], check=True)
    watch = libc.inotify_init1(os.O_NONBLOCK)
    assert libc.inotify_add_watch(watch, b"place", 0x200) == 1
    done = estiva.run("box:1", ["true"], network="none", volumes={os.path.abspath("place"): "/x"})
    subprocess.run(["umount", "place"], check=True)
    print(done.status, int.from_bytes(os.read(watch, 4096)[4:8], "little") & 0x2000)  # IN_UNMOUNT: of all its mounts
"""
    )
    assert out == f"0 {0x2000}\n" * 15


def test_the_disk_is_not_waited_for(box):
    """What is removed with its container need not get there; what stays must."""
    for words, expected in ((["--rm"], True), ([], False)):
        seen = box.out(
            "run",
            *words,
            "--network",
            "none",
            "--name",
            "it",
            IMAGE,
            "head",
            "-n",
            "1",
            "/proc/self/mountinfo",
        )
        assert ("volatile" in seen.partition("workdir=")[2]) == expected, seen
    box.estiva("start", "it")
    box.estiva("rm", "-f", "it")
    assert_nothing_left(box)
