"""The program that `box.python` runs in a box, with the python3 that its image has (3.6 or newer).

    host -> box    a frame: {"warm": code} once, then {"code", "most", "timeout"} for each run, and {"cancel"}
                   for one that is to end at once: nothing, if it has ended
    box -> host    an answer for each but that: {"ok": true} or {"error": ...}; then how the run ended, with
                   its stdout, its stderr, and the value's JSON or its repr() ("kind")

A frame is four bytes, the length of what follows, most significant first, and a JSON object. An answer is
four such lengths, and what they are of: a JSON object, and three texts as they were written, so that the host
reads as much of them as it has asked for, and no more. Each run is a fork, so that it finds what the warm
code has made and leaves nothing behind in the memory of the next one. What is left of its processes is
killed: this process is the one that orphans get as their parent (prctl(2)).
"""

from __future__ import annotations

PROGRAM = r'''
import ast, gc, json, linecache, os, select, signal, struct, sys, time, traceback

PDEATHSIG, SUBREAPER = 1, 36  # <linux/prctl.h>
scope = {"__name__": "__main__", "__builtins__": __builtins__}


def prctl(*words):
    try:
        import ctypes

        ctypes.CDLL(None).prctl(*words, 0, 0, 0)
    except Exception:
        pass


def plain(value):
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return True
    if kind is float:
        return value == value and value not in (float("inf"), float("-inf"))
    if kind in (list, tuple):
        return all(map(plain, value))
    return kind is dict and all(type(key) is str and plain(value[key]) for key in value)


def shown(value):
    try:
        return repr(value)
    except BaseException:
        return "<%s that has no repr>" % type(value).__name__


def failed(error):
    kind = type(error)
    name = kind.__name__ if kind.__module__ == "builtins" else kind.__module__ + "." + kind.__qualname__
    try:
        message = str(error)
    except BaseException:
        message = ""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == "<string>":
        trace = trace.tb_next
    try:
        text = "".join(traceback.format_exception(kind, error, trace))
    except BaseException:
        text = name
    return {"type": name[:1000], "message": message[:65536], "traceback": text[-262144:]}


def execute(code, name):
    tree = compile(code, name, "exec", ast.PyCF_ONLY_AST)
    linecache.cache[name] = (len(code), None, code.splitlines(True), name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), scope)
    if last is not None:
        return eval(compile(ast.Expression(last.value), name, "eval"), scope)


def run(code, most):
    answer, text = {"kind": "value"}, None
    try:
        value = execute(code, "<run>")
        try:
            text = json.dumps(value) if plain(value) else None
        except BaseException:
            pass
        if text is None or len(text) > most:
            answer["kind"], text = "repr", shown(value)[:most]
    except BaseException as error:
        answer, text = {"error": failed(error)}, ""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            pass
    text = coded(text)
    answer["size"] = len(text)
    return coded(json.dumps(answer, ensure_ascii=False)) + b"\n" + text


def coded(text):
    return text.encode("utf-8", "surrogatepass")


def orphans():
    """Kill what a run has left behind."""
    for _ in range(1000):
        try:
            with open("/proc/self/task/%d/children" % os.getpid()) as file:
                found = [int(word) for word in file.read().split()]
        except (OSError, ValueError):
            found = []
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        try:
            while found and os.waitpid(-1, 0)[0]:
                found.pop()
        except OSError:
            pass
        if not found:
            return


def one(wanted):
    most, limit = wanted["most"], wanted["timeout"]
    pipes = [os.pipe() for _ in range(3)]
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            prctl(PDEATHSIG, signal.SIGKILL)  # a run that ends this interpreter ends with it
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.close(requests), os.close(answers)
            for number in (1, 2):
                os.dup2(pipes[number - 1][1], number)
            for ends in pipes[:2]:
                os.close(ends[0]), os.close(ends[1])
            os.close(pipes[2][0])
            data = run(wanted["code"], most)
            while data:
                data = data[os.write(pipes[2][1], data) :]
        finally:
            os._exit(0)
    kept, left = {}, {}
    poll = select.poll()
    for number, ends in enumerate(pipes):
        os.close(ends[1])
        os.set_blocking(ends[0], False)
        kept[ends[0]], left[ends[0]] = bytearray(), most if number < 2 else 4 * most + 2000000
        poll.register(ends[0], select.POLLIN)
    poll.register(requests, select.POLLIN)
    cut = late = told = False
    ended = None
    while True:
        rest = None if limit is None else max(0.0, began + limit - time.monotonic())
        if limit is not None and rest == 0:
            late = True
            break
        wait = 1.0 if rest is None else min(rest, 1.0)
        for fd, _ in poll.poll(0 if ended else 1 if told else wait * 1000):
            if fd == requests:
                late = bool(asked())  # a "cancel" it is, as nothing else comes now
                continue
            try:
                data = os.read(fd, 65536)
            except BlockingIOError:
                continue
            if not data:
                poll.unregister(fd)
                told = told or fd == pipes[2][0]
                continue
            room = left[fd] - len(kept[fd])
            cut = cut or (len(data) > room and fd != pipes[2][0])
            kept[fd] += data[:room]
        if ended or late:
            break
        gone = os.wait4(pid, os.WNOHANG)
        if gone[0]:
            ended = gone[1:]
    seconds = time.monotonic() - began
    if ended is None:
        try:
            os.killpg(pid, signal.SIGKILL)
        except OSError:
            pass
        ended = os.wait4(pid, 0)[1:]
    orphans()
    for ends in pipes:
        try:
            while ended and len(kept[ends[0]]) < left[ends[0]]:
                data = os.read(ends[0], 65536)
                if not data:
                    break
                kept[ends[0]] += data[: left[ends[0]] - len(kept[ends[0]])]
        except BlockingIOError:
            pass
        os.close(ends[0])
    status, usage = ended
    out, err, said = (bytes(kept[ends[0]]) for ends in pipes)
    head, _, text = said.partition(b"\n")
    answer = {
        "truncated": cut, "late": bool(late), "seconds": seconds,
        "cpu": usage.ru_utime + usage.ru_stime, "memory": usage.ru_maxrss * 1024,
    }
    try:
        found = json.loads(head.decode("utf-8", "surrogatepass"))
    except ValueError:
        found = {}
    whole = found.get("size") == len(text)
    if whole and not late:
        answer.update(found)
    if not whole and not late:
        killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        answer["ended"] = {"signal": killed, "status": 0 if killed else os.WEXITSTATUS(status)}
    tell(answer, out, err, text if whole and not late else b"")


def read(count):
    data = b""
    while len(data) < count:
        piece = os.read(requests, count - len(data))
        if not piece:
            os._exit(0)
        data += piece
    return data


def asked():
    return json.loads(read(struct.unpack(">I", read(4))[0]).decode("ascii"))


def tell(answer, out=b"", err=b"", text=b""):
    data = coded(json.dumps(answer, ensure_ascii=False))
    data = struct.pack(">IIII", len(data), len(out), len(err), len(text)) + data + out + err + text
    while data:
        data = data[os.write(answers, data) :]


requests, answers = os.dup(0), os.dup(1)
null = os.open(os.devnull, os.O_RDWR)
for fd in (0, 1, 2):
    os.dup2(null, fd)
os.close(null)
signal.signal(signal.SIGINT, signal.SIG_IGN)
prctl(SUBREAPER, 1)
while True:
    wanted = asked()
    if "cancel" in wanted:
        continue
    if "warm" not in wanted:
        one(wanted)
        continue
    try:
        execute(wanted["warm"], "<warm>")
        gc.collect()
        getattr(gc, "freeze", int)()
        tell({"ok": True})
    except BaseException as error:
        tell({"error": failed(error)})
'''
