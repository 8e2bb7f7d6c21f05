"""A command in a container with live streams, as subprocess.Popen has them."""

import pytest

from enginekit import eventually, host


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


def program(box, code, **how):
    body = "\n".join("    " + line for line in code.strip().splitlines())
    return box.python(
        'import estiva, gc, os, signal, subprocess, threading, time\nwith estiva.container("box:1", network="none") as box:\n'
        f"{body}\n",
        **how,
    ).splitlines()


def test_streams(box):
    out = program(
        box,
        r"""
p = box.popen(["sh", "-c", "read x; echo got $x; echo e >&2; exit 5"], text=True)
print(p.poll(), p.communicate("hello\n"), p.returncode, p.poll(), p.args[0])
with box.popen("cat") as p:
    p.stdin.write(b"abc\n"); p.stdin.flush(); print(p.stdout.readline(), p.poll(), os.path.exists(f"/proc/{p.pid}"))
    p.stdin.close(); print(p.stdout.read(), p.wait(), p.stderr.read())
print(box.popen(["sh", "-c", "echo 1; echo 2 >&2"], stderr=subprocess.STDOUT).communicate())
print(box.popen("echo x", stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL).communicate())
with open("out", "w+b") as file:
    print(box.popen("echo file", stdout=file, stderr=file.fileno()).communicate(), box.popen("echo own", stdout=None).wait())
    file.seek(0); print(file.read())
print(box.popen("cat", encoding="latin-1").communicate("\u00e9\r\n"))
print(box.popen(["sh", "-c", "echo $A; id -u; pwd"], env={"A": "1"}, user="user", workdir="/tmp", text=True).communicate()[0].split())
""",
    )
    assert out == [
        r"None ('got hello\n', 'e\n') 5 5 sh", r"b'abc\n' None True", "b'' 0 b''", r"(b'1\n2\n', None)", "(None, b'')", "own",
        "(None, None) 0", r"b'file\n'", r"('é\n', '')", "['1', '1000', '/tmp']",
    ]  # fmt: skip


def test_ends(box):
    out = program(
        box,
        r"""
p = box.popen(["sh", "-c", "sleep 100 & sleep 100 & wait"], text=True)
try: p.wait(0.3)
except subprocess.TimeoutExpired as error: print(type(error).__name__, isinstance(error, estiva.EstivaError), error, error.timeout)
p.kill(); p.kill(); print(p.wait(), p.wait(), box.exec("ps").output.count("sleep 100"))
p = box.popen(["sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do usleep 10000; done"]); p.stdout.readline()
p.terminate(); print(p.wait(10))
p = box.popen("sleep 100"); p.send_signal(signal.SIGINT); print(p.wait(10)); p.terminate()
p = box.popen(["sh", "-c", "echo begun; sleep 100"])
try: p.communicate(timeout=0.5)
except estiva.StillRunning as error: print(error.output, error.stderr)
p.kill(); print(p.communicate())
try:
    with box.popen("sleep 100") as p: raise KeyError
except KeyError: print(p.returncode)
for wrong in ("nosuch", ""):
    try: box.popen(wrong)
    except estiva.EstivaError as error: print(type(error).__name__)
try: box.popen("true").send_signal("NONSENSE")
except estiva.EstivaError as error: print(error)
""",
    )
    assert out == [
        "StillRunning True the command 'sh' has not ended after 0.3 s 0.3", "137 137 0", "3", "130", r"b'begun\n' b''",
        r"(b'begun\n', b'')", "137", "CommandNotFound", "InvalidInput", "invalid signal: 'NONSENSE'",
    ]  # fmt: skip


def test_output_that_nobody_reads(box):
    """It holds the command back, and neither its end nor a kill; what it has written is there when it has ended."""
    out = program(
        box,
        r"""
p = box.popen("yes"); time.sleep(0.5); print(p.poll()); p.terminate(); print(p.wait(30)); print(len(p.stdout.read()) > 60000)
p = box.popen("yes"); time.sleep(0.5); p.kill(); print(p.wait(30))
p = box.popen(["sh", "-c", "head -c 100000 /dev/zero; echo end >&2"]); print(p.wait(30), len(p.stdout.read()), p.stderr.read())
p = box.popen(["sh", "-c", "head -c 2000000 /dev/zero"]); time.sleep(0.3); print(p.poll(), len(p.stdout.read()), p.wait())
p = box.popen("yes"); p.stdout.read(10); p.stdout.close(); print(p.wait(30))
p = box.popen("yes", stdout=subprocess.DEVNULL); time.sleep(0.3); print(p.poll()); p.kill()
p = box.popen(["sh", "-c", "yes | head -c 3000000"]); out, _ = p.communicate(max_output=1000); print(len(out), p.truncated, p.returncode)
p = box.popen("cat"); data = os.urandom(3000000); print(p.communicate(data)[0] == data)
p = box.popen("true"); print(p.communicate(data), p.returncode)
""",
    )
    assert out == [
        "None", "143", "True", "137", r"0 100000 b'end\n'", "None 2000000 0", "141", "None", "1000 True 0", "True", "(b'', b'') 0",
    ]  # fmt: skip


def test_a_terminal(box):
    out = program(
        box,
        r"""
with box.popen("sh", tty=True, size=(30, 90)) as p:
    print(p.stderr)
    p.stdin.write(b"stty size; tty\n"); p.stdin.flush()
    text = b""
    while b"/dev/pts" not in text: text += os.read(p.stdout.fileno(), 1000)
    print(b"30 90" in text)
    p.resize(40, 100)
    p.stdin.write(b"stty size; echo \x10\x11\n"); p.stdin.flush()
    while b"40 100" not in text: text += os.read(p.stdout.fileno(), 1000)
    p.stdin.write(b"exit 4\n"); p.stdin.flush()
    print(p.wait(30))
try: box.popen("true").resize(1, 1)
except estiva.EstivaError as error: print(error)
""",
    )
    assert out == ["None", "True", "4", "the command has no terminal"]


def test_threads_and_forks(box):
    out = program(
        box,
        r"""
errors = []
def work(number):
    try:
        for j in range(15):
            out = box.popen(["echo", f"{number}.{j}"], text=True).communicate()[0]
            assert out == f"{number}.{j}\n", out
    except BaseException as error: errors.append(error)
threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(errors)
p, ends = box.popen(["sh", "-c", "sleep 0.3; exit 9"]), []
threads = [threading.Thread(target=lambda: ends.append(p.wait())) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(ends)
p = box.popen("cat", text=True)
child = os.fork()
if child == 0:
    try:
        try: p.poll()
        except estiva.EstivaError as error: os.write(1, f"{error}\n".encode())  # a line in one piece
        files = [open("/dev/null") for _ in range(5)]
        del p; gc.collect()
        for file in files: os.fstat(file.fileno())
        os.write(1, box.exec("echo fresh").stdout)
        time.sleep(3)
    finally: os._exit(0)
began = time.monotonic()
seen = os.waitid(os.P_PID, child, os.WNOHANG | os.WEXITED), p.communicate("x")[0], os.waitid(os.P_PID, child, os.WNOHANG | os.WEXITED)
os.write(1, " ".join(map(str, seen)).encode() + b"\n")
os.waitpid(child, 0)
""",
    )
    assert sorted(out) == sorted([
        "[]", "[9, 9, 9, 9]", "the command was started by another process, of which this one is a fork", "fresh", "None x None",
    ])  # fmt: skip


def test_what_nobody_holds_goes_on_until_the_program_ends(box):
    out = program(
        box,
        r"""
box.popen(["sh", "-c", "usleep 300000; echo done > /done; exec sleep 1000"]); gc.collect()
while not box.files.exists("/done"): time.sleep(0.05)
print(box.exec("ps").output.count("sleep 1000"))
""",
    )
    assert out == ["1"]


def test_ctrl_c_in_the_middle(box):
    out = program(
        box,
        r"""
def interrupted(call):
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    try: call(); print("not interrupted")
    except KeyboardInterrupt: pass
def block():
    with box.popen("sleep 600") as p: p.stdout.read()
def drain(iterator):
    for _ in iterator: pass
engine = estiva.Engine()
for call in (block, box.wait, lambda: box.wait(60), lambda: box.exec("sleep 600"), lambda: drain(box.logs(follow=True)),
             lambda: drain(engine.events()), lambda: drain(box.stats_stream())):
    interrupted(call)
print(box.exec("ps").output.count("sleep 600"), box.running)
""",
    )
    assert out == ["0 True"]


def test_on_output_and_its_errors(box):
    out = program(
        box,
        r"""
seen = []
print(box.exec(["sh", "-c", "echo a; usleep 50000; echo b >&2"], on_output=lambda *one: seen.append(one)).stdout, seen)
def stop(stream, data): raise LookupError("enough")
try: box.exec(["sh", "-c", "echo a; sleep 600"], on_output=stop)
except LookupError as error: print(error, box.exec("ps").output.count("sleep 600"))
print(estiva.run("box:1", "echo x", network="none", on_output=lambda *one: seen.append(one), max_output=0).truncated, seen[-1])
""",
    )
    assert out == [r"b'a\n' [('stdout', b'a\n'), ('stderr', b'b\n')]", "enough 0", r"True ('stdout', b'x\n')"]


def test_a_detached_command_outlives_the_program(box):
    box.estiva("run", "-d", "--name", "host", "--network", "none", "box:1", "sleep", "1000")
    box.python(
        'import estiva\nestiva.Engine().containers.get("host").exec_detached(["sleep", "888"], env={"A": "1"})'
    )
    assert "sleep 888" in box.out("top", "host")
    box.out("rm", "-f", "host")
    eventually(lambda: not box.out("ps", "-aq"))


def test_a_command_that_has_ended_leaves_nothing_open(box):
    """As subprocess's: a program whose ResourceWarnings are errors says nothing."""
    out = box.python("""
import estiva, gc, sys, warnings
warnings.simplefilter("error")
sys.unraisablehook = lambda told: print(told.exc_value)
with estiva.container("box:1", network="none") as made:
    cat = made.popen("cat")
    cat.communicate(b"x")
    with made.popen("true"):
        pass
    del cat
    gc.collect()
print("done")
""")
    assert out == "done\n"
