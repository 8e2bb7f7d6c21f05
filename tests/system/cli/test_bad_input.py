"""What a user gets wrong: one clear line, Docker's exit status, and nothing lost or half made."""

import concurrent.futures
import contextlib
import os
import pathlib
import re
import subprocess
import tarfile

import pytest

from enginekit import ESTIVA, IMAGE, eventually, host
from estiva.cli.options.run import TABLE
from statekit import one_line, settled, state

RUN = ("run", "--rm", "--network", "none")
BRIDGE = ("run", "--rm")
BYTES = "\udcff\udcfe"  # bytes that are no UTF-8, as Python hands them on (PEP 383)
LONG = "x" * 5000
DIGITS = "9" * 5000


@pytest.fixture(scope="module")
def box():
    with host() as made:
        folder = pathlib.Path(made.folder)
        for name, content in FILES.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        os.mkfifo(folder / "fifo")
        with open(folder / "huge.json", "wb") as file:
            file.truncate(20 << 20)
        with tarfile.open(folder / "outside.tar", "w") as tar:
            tar.addfile(tarfile.TarInfo("../x"))
        made.estiva("run", "-d", "--name", "up", "--network", "none", IMAGE, "sleep", "1000")
        made.estiva("create", "--name", "ok", "--network", "none", IMAGE, "true")
        made.estiva("create", "--name", "broken", "--network", "none", IMAGE, "nosuch")
        taken = subprocess.Popen(
            [*made.prefix, "python3", "-c", "import socket, time; s = socket.create_server(('0.0.0.0', 8123));"
             "print('ready', flush=True); time.sleep(1000)"], stdout=subprocess.PIPE,
        )  # fmt: skip
        assert taken.stdout.readline() == b"ready\n"
        before = seen(made)
        yield made
        after = seen(made)
        taken.kill()
        taken.wait()
        taken.stdout.close()
        made.estiva("rm", "-f", "up", "ok", "broken")
        assert after == before


def seen(box):
    images = ("images", "--no-trunc", "--format", "{{.ID}} {{.Repository}} {{.Tag}} {{.Size}}")
    return [box.out(*words) for words in (images, ("ps", "-aq"), ("system", "check"))]


def refused(box, words, status, pattern):
    before = settled(box)
    done = box.estiva(*words, status=status)
    message = one_line(done.stderr)
    assert re.search(pattern, message), message
    with contextlib.suppress(AssertionError):
        eventually(lambda: state(box) == before)  # a dying container's cgroup
    assert state(box) == before


FILES = {
    "file": "x",
    "bad.json": "{nonsense",
    "list.json": "[1, 2]",
    "deep.json": "[" * 100_000,
    "empty.json": "",
    "action.json": '{"defaultAction": "SCMP_ACT_NONSENSE"}',
    "calls.json": '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": "x"}',
    "a:b=c.json": '{"defaultAction": "SCMP_ACT_ALLOW"}',
    "latin.env": b"A=\xff\n",
    "space.env": "A B=1\n",
    "null.env": "A=\0x\n",
    "long.env": "A=" + "x" * 1_000_000 + "\n",
    "good.env": "A=1\n",
    "dir/Dockerfile": "",
    "unknown/Dockerfile": "FROM box:1\n\n# a comment\nNOSUCH \x1b[31mx\n",
    "nofrom/Dockerfile": "RUN x\n",
    "copy/Dockerfile": "FROM box:1\nCOPY nosuch /x\n",
    "run/Dockerfile": "FROM box:1\nRUN exit 7\n",
    "exec/Dockerfile": 'FROM box:1\nRUN ["nosuch"]\n',
    "base/Dockerfile": "FROM BAD\n",
    "json/Dockerfile": 'FROM box:1\nCMD ["a", 1]\n',
    "heredoc/Dockerfile": "FROM box:1\nRUN <<EOF\nx\n",
    "user/Dockerfile": "FROM box:1\nUSER ghost\nRUN true\n",
    "url/Dockerfile": "FROM box:1\nADD http://127.0.0.1:1/x /x\n",
    "short.tar": b"x",
    "garbage.tar": b"\xa5" * 10_000,
    "nothing.tar": b"\0" * 10_240,
    "broken.gz": b"\x1f\x8b" + b"\xa5" * 1000,
}

CASES = [
    # verbs, options
    (("nosuchverb",), 1, "'nosuchverb' is not a verb"),
    (("image", "nosuch"), 1, "'nosuch' is not a verb of estiva image"),
    (("--nosuch",), 125, "unknown flag: --nosuch"),
    (("image", "--nosuch"), 125, "unknown flag: --nosuch"),
    (("exec", "--nosuch", "up", "true"), 125, "unknown flag: --nosuch"),
    (("build", "-Z", "."), 125, "unknown shorthand flag: 'Z' in -Z"),
    (("stop", "-t", "x", "up"), 125, 'invalid argument "x" for "-t, --time" flag'),
    (("update", "--device-read-bps", "/dev/null:1", "up"), 125, "unknown flag: --device-read-bps"),
    (("update", "--ulimit", "nofile=1", "up"), 125, "unknown flag: --ulimit"),
    (("--root",), 125, "flag needs an argument: --root"),
    (("--root", "file", "images"), 1, "/file: file exists"),
    (("--storage-driver", "x", "images"), 1, "no storage driver x"),
    (("run",), 1, "requires at least 1 argument"),
    (("run", "--memry", "1", IMAGE), 125, "unknown flag: --memry"),
    (("ps", "extra"), 1, "accepts no arguments"),
    (("tag", IMAGE), 1, "requires exactly 2 arguments"),
    # images
    ((*RUN, "--pull", "never", "nosuch:1"), 125, "no such image: nosuch:1"),
    ((*RUN, "nosuch:1"), 125, "image nosuch:1 is not here and can't be pulled: can't reach .*docker.io"),
    ((*RUN, "--pull", "x", IMAGE), 125, "invalid pull option: 'x'"),
    ((*RUN, "box:nosuch"), 125, "box:nosuch is not here"),
    ((*RUN, "UPPER"), 125, 'invalid reference "UPPER": .*lowercase'),
    ((*RUN, "a b"), 125, "invalid reference"),
    ((*RUN, ""), 125, "image name is empty"),
    ((*RUN, "a:"), 125, "invalid reference"),
    ((*RUN, "../x"), 125, "invalid reference"),
    ((*RUN, LONG), 125, "invalid reference"),
    ((*RUN, "a@sha256:xyz"), 125, "invalid digest 'sha256:xyz'"),
    ((*RUN, "a@sha256:" + "A" * 64), 125, "lower-case"),
    ((*RUN, BYTES), 125, r"invalid reference .*udcff"),
    ((*RUN, "--platform", "x", IMAGE), 125, "'x' is neither an operating system"),
    (("rmi", "nosuch"), 1, "no such image: nosuch"),
    (("rmi", IMAGE), 1, f"image {IMAGE} is in use by container"),
    (("tag", "nosuch", "x:1"), 1, "no such image: nosuch"),
    (("tag", IMAGE, "BAD"), 1, "invalid reference"),
    (("tag", IMAGE, "sha256:" + "a" * 64), 1, "looks like a digest"),
    (("tag", IMAGE, "x@sha256:" + "a" * 64), 1, "has a digest"),
    (("history", "nosuch"), 1, "no such image: nosuch"),
    (("inspect", "nosuch"), 1, "no such object: nosuch"),
    (("inspect", BYTES), 1, "no such object|is not UTF-8"),
    (("inspect", "--format", "{{", "up"), 1, "template parsing error"),
    (("inspect", "--format", "{{.Nosuch}}", "up"), 1, "no field .Nosuch"),
    (("images", "--filter", "x=y"), 1, "invalid filter 'x'"),
    # commands
    ((*RUN, IMAGE, "nosuch"), 127, 'exec: "nosuch": executable file not found'),
    ((*RUN, IMAGE, ""), 127, 'exec: "": executable file not found'),
    ((*RUN, IMAGE, "/nosuch"), 127, 'exec: "/nosuch": no such file'),
    ((*RUN, IMAGE, "/etc/passwd"), 126, 'exec: "/etc/passwd": permission denied'),
    ((*RUN, IMAGE, "/etc"), 126, 'exec: "/etc": is a directory'),
    ((*RUN, IMAGE, "a\nb\x1b[31m"), 127, r'exec: "a\\nb\\x1b\[31m": executable'),
    ((*RUN, IMAGE, BYTES), 127, r'exec: "\\udcff\\udcfe": executable'),
    ((*RUN, "--entrypoint", "", IMAGE), 125, "no command specified"),
    ((*RUN, "--ulimit", "stack=1000000", IMAGE, "echo", *["z" * 100_000] * 5), 126, "argument list too long"),
    (("exec", "up", "nosuch"), 126, 'exec: "nosuch": executable file not found'),
    (("exec", "up", "/etc/passwd"), 126, 'exec: "/etc/passwd": permission denied'),
    (("exec", "-d", "up", "nosuch"), 1, 'exec: "nosuch"'),
    (("exec", "up"), 1, "at least 2 arguments"),
    (("exec", "ok", "true"), 1, "container ok is not running"),
    (("exec", "nosuch", "true"), 1, "no such container: nosuch"),
    (("exec", "../../x", "true"), 1, "no such container"),
    (("exec", BYTES, "true"), 1, "is not UTF-8"),
    (("exec", "-w", "/nosuch", "up", "true"), 126, "/nosuch: no such file"),
    (("exec", "-w", "/etc/passwd", "up", "true"), 126, "/etc/passwd: not a directory"),
    (("exec", "-u", "ghost", "up", "true"), 126, "no user 'ghost'"),
    (("exec", "-u", "0:ghost", "up", "true"), 126, "no group 'ghost'"),
    (("exec", "-u", "99999999999", "up", "true"), 126, "out of the range of ids"),
    (("exec", "-d", "-u", "ghost", "up", "true"), 1, "no user 'ghost'"),
    (("exec", "-it", "up", "sh"), 1, "not a TTY"),
    # who, where
    ((*RUN, "-w", "rel", IMAGE, "true"), 125, "working directory 'rel' is invalid"),
    ((*RUN, "-w", "/etc/passwd", IMAGE, "true"), 125, "/etc/passwd: not a directory"),
    ((*RUN, "-w", "/" + LONG, IMAGE, "true"), 125, "file name too long"),
    ((*RUN, "-u", "ghost", IMAGE, "true"), 125, "no user 'ghost'"),
    ((*RUN, "-u", "a\nb", IMAGE, "true"), 125, r"no user 'a\\nb'"),
    ((*RUN, "-u", ":ghost", IMAGE, "true"), 125, "no group 'ghost'"),
    ((*RUN, "-u", "4294967295", IMAGE, "true"), 125, "out of the range of ids"),
    ((*RUN, "-u", "4294967296", IMAGE, "true"), 125, "out of the range of ids"),
    ((*RUN, "-u", "0:99999999999999999999", IMAGE, "true"), 125, "out of the range of ids"),
    ((*RUN, "-u", "-1", IMAGE, "true"), 125, "no user '-1'"),
    ((*RUN, "--group-add", "ghost", IMAGE, "true"), 125, "no group 'ghost'"),
    ((*RUN, "--group-add", "99999999999", IMAGE, "true"), 125, "out of the range of ids"),
    ((*RUN, "--name", "-bad", IMAGE, "true"), 125, 'invalid container name "-bad"'),
    ((*RUN, "--name", "../x", IMAGE, "true"), 125, "invalid container name"),
    ((*RUN, "--name", "a\x1b[2Jb", IMAGE, "true"), 125, r'invalid container name "a\\x1b\[2Jb"'),
    ((*RUN, "--name", LONG, IMAGE, "true"), 125, "invalid container name"),
    ((*RUN, "--name", BYTES, IMAGE, "true"), 125, "invalid container name"),
    ((*RUN, "--name", "up", IMAGE, "true"), 125, 'the name "up" is in use by container'),
    ((*RUN, "--name", "up", "-v", "/anonymous", "-v", "fresh:/x", IMAGE, "true"), 125, 'the name "up" is in use'),
    ((*RUN, "--hostname", "a\nb", IMAGE, "true"), 125, r'invalid hostname "a\\nb"'),
    ((*RUN, "--hostname", "x" * 65, IMAGE, "true"), 125, "invalid hostname"),
    ((*RUN, "--hostname", BYTES, IMAGE, "true"), 125, "invalid hostname"),
    ((*RUN, "--domainname", "a\nb", IMAGE, "true"), 125, "invalid domain name"),
    # limits
    ((*RUN, "--memory", "1", IMAGE, "true"), 125, "minimum memory limit allowed is 6MB"),
    ((*RUN, "--memory", "9999999999999g", IMAGE, "true"), 125, "too large"),
    ((*RUN, "--memory", DIGITS, IMAGE, "true"), 125, "too large"),
    ((*RUN, "--memory", DIGITS + ".5", IMAGE, "true"), 125, "too large"),
    ((*RUN, "--memory", "-1", IMAGE, "true"), 125, "invalid size"),
    ((*RUN, "--memory", "1e9", IMAGE, "true"), 125, "invalid size: '1e9'"),
    ((*RUN, "--memory", "٦m", IMAGE, "true"), 125, "invalid size"),
    ((*RUN, "--memory", "8m", "--memory-swap", "7m", IMAGE, "true"), 125, "larger than memory limit"),
    ((*RUN, "--memory-swap", "10m", IMAGE, "true"), 125, "always set the memory limit"),
    ((*RUN, "--shm-size", "99999999999g", IMAGE, "true"), 125, "too large"),
    ((*RUN, "--cpus", "1000", IMAGE, "true"), 125, "range of cpus is from 0.01"),
    ((*RUN, "--cpus", "nan", IMAGE, "true"), 125, "decimal"),
    ((*RUN, "--cpus", DIGITS, IMAGE, "true"), 125, "too large"),
    ((*RUN, "--cpuset-cpus", "99", IMAGE, "true"), 125, "requested CPUs are not available - requested 99"),
    ((*RUN, "--cpuset-cpus", "0\n1", IMAGE, "true"), 125, r"invalid value 0\\n1 for cpuset cpus"),
    ((*RUN, "--cpuset-mems", "99", IMAGE, "true"), 125, "requested memory nodes are not available - requested 99"),
    ((*RUN, "--cpu-shares", "-1", IMAGE, "true"), 125, r"invalid cpu shares \(-1\)"),
    ((*RUN, "--cpu-quota", DIGITS, IMAGE, "true"), 125, "--cpu-quota.*not a whole number"),
    ((*RUN, "--pids-limit", "99999999999999999999", IMAGE, "true"), 125, "out of range"),
    ((*RUN, "--pids-limit", "x", IMAGE, "true"), 125, 'invalid argument "x" for "--pids-limit"'),
    ((*RUN, "--oom-score-adj", "5000", IMAGE, "true"), 125, "invalid value 5000"),
    ((*RUN, "--ulimit", "nofile", IMAGE, "true"), 125, "invalid ulimit argument"),
    ((*RUN, "--ulimit", "nofile=5:4", IMAGE, "true"), 125, "soft limit must be less"),
    ((*RUN, "--ulimit", "nofile=-5", IMAGE, "true"), 125, "-5 is not a number"),
    ((*RUN, "--ulimit", f"nofile={DIGITS}", IMAGE, "true"), 125, "too large"),
    ((*RUN, "--ulimit", "nofile=99999999999", IMAGE, "true"), 125, "kernel refuses the limit nofile="),
    ((*RUN, "--ulimit", "nosuch=1", IMAGE, "true"), 125, "invalid ulimit type: nosuch"),
    ((*RUN, "--cap-add", "nosuch", IMAGE, "true"), 125, "nosuch is not a capability"),
    ((*RUN, "-v", "/anonymous", "--cap-add", "nosuch", IMAGE, "true"), 125, "nosuch is not a capability"),
    ((*RUN, "--sysctl", "kernel.panic=1", IMAGE, "true"), 125, "sysctl 'kernel.panic=1' is not allowed"),
    ((*RUN, "--sysctl", "net.nosuch=1", IMAGE, "true"), 125, "net/nosuch: no such file"),
    # seccomp
    ((*RUN, "--security-opt", "x", IMAGE, "true"), 125, "invalid --security-opt"),
    ((*RUN, "--security-opt", "seccomp=/nosuch", IMAGE, "true"), 125, r"\(/nosuch\) failed: no such file"),
    ((*RUN, "--security-opt", "seccomp=/etc", IMAGE, "true"), 125, r"\(/etc\) failed: is a directory"),
    ((*RUN, "--security-opt", "seccomp=bad.json", IMAGE, "true"), 125, "bad.json is not valid json: exp"),
    ((*RUN, "--security-opt", "seccomp=deep.json", IMAGE, "true"), 125, "deep.json.*nested too deeply"),
    ((*RUN, "--security-opt", "seccomp=empty.json", IMAGE, "true"), 125, "empty.json.*ends too early"),
    ((*RUN, "--security-opt", "seccomp=huge.json", IMAGE, "true"), 125, "huge.json is larger than"),
    ((*RUN, "--security-opt", "seccomp=list.json", IMAGE, "true"), 125, "the profile is not an object"),
    ((*RUN, "--security-opt", "seccomp=action.json", IMAGE, "true"), 125, "SCMP_ACT_NONSENSE is not"),
    ((*RUN, "--security-opt", "seccomp=calls.json", IMAGE, "true"), 125, "seccomp.syscalls is not a list"),
    # variables and labels
    ((*RUN, "-e", "=x", IMAGE, "true"), 125, "invalid environment variable: =x"),
    ((*RUN, "--env-file", "nosuch", IMAGE, "true"), 125, "can't read nosuch: no such file"),
    ((*RUN, "--env-file", "latin.env", IMAGE, "true"), 125, "latin.env is not UTF-8"),
    ((*RUN, "--env-file", "space.env", IMAGE, "true"), 125, "space.env: .*'A B'"),
    ((*RUN, "--env-file", "null.env", IMAGE, "true"), 125, "null.env: .*null byte"),
    ((*RUN, "--env-file", "/dev/zero", IMAGE, "true"), 125, "/dev/zero is larger than"),
    ((*RUN, "--env-file", "long.env", IMAGE, "true"), 126, "argument list too long"),
    ((*RUN, "-l", "", IMAGE, "true"), 125, "invalid label"),
    # mounts
    ((*RUN, "-v", "a/../b:/x", IMAGE, "true"), 125, '"a/../b" includes invalid characters'),
    ((*RUN, "-v", "a\nb:/x", IMAGE, "true"), 125, r'"a\\nb" includes invalid characters'),
    ((*RUN, "-v", "/x:..", IMAGE, "true"), 125, "mount path '..' must be absolute"),
    ((*RUN, "-v", "/x:/a/..", IMAGE, "true"), 125, "destination can't be '/'"),
    ((*RUN, "-v", "fresh:/x:zz", IMAGE, "true"), 125, "invalid mode: zz"),
    ((*RUN, "-v", "fresh:/proc", IMAGE, "true"), 125, "/proc can't be mounted on"),
    ((*RUN, "-v", "fresh:/proc/sys", IMAGE, "true"), 125, "/proc/sys can't be mounted on"),
    ((*RUN, "-v", "fresh:/a/../proc/sys", IMAGE, "true"), 125, "/proc/sys can't be mounted on"),
    ((*RUN, "-v", "./file/x:/y", IMAGE, "true"), 125, "file/x is not there and can't be made: not a directory"),
    ((*RUN, "-v", "./file:/bin", IMAGE, "true"), 125, "file can't be mounted at /bin: a file on a folder"),
    ((*RUN, "-v", "/etc:/etc/passwd", IMAGE, "true"), 125, "/etc/passwd: not a directory"),
    ((*RUN, "-v", "fresh:/a", "-v", "other:/a", IMAGE, "true"), 125, "duplicate mount point: /a"),
    ((*RUN, "-v", "fresh:/a", "--mount", "type=bind,src=/nosuch,dst=/x", IMAGE, "true"), 125,
     "bind source path does not exist: /nosuch"),
    ((*RUN, "--mount", "x", IMAGE, "true"), 125, "key=value"),
    ((*RUN, "--mount", "type=nosuch,dst=/x", IMAGE, "true"), 125, "mount type unknown: 'nosuch'"),
    ((*RUN, "--tmpfs", "/x:nonsense", IMAGE, "true"), 125, 'invalid tmpfs option "nonsense" of /x'),
    ((*RUN, "--device", "/nosuch", IMAGE, "true"), 125, "device /nosuch can't be used: no such file"),
    ((*RUN, "--device", "/etc/passwd", IMAGE, "true"), 125, "/etc/passwd is not a device"),
    ((*RUN, "--cidfile", "file", IMAGE, "true"), 125, "container id file file is there already"),
    ((*RUN, "--cidfile", "/nosuch/x", IMAGE, "true"), 125, "/nosuch/x: no such file"),
    (("create", "--cidfile", "/nosuch/x", IMAGE, "true"), 125, "/nosuch/x: no such file"),
    # networks
    ((*BRIDGE, "-p", "x", IMAGE, "true"), 125, "invalid containerPort: x"),
    ((*BRIDGE, "-p", "65536:80", IMAGE, "true"), 125, "invalid hostPort: 65536"),
    ((*BRIDGE, "-p", "80:0", IMAGE, "true"), 125, "invalid container port: 0"),
    (("create", "-p", "80:0", IMAGE, "true"), 125, "invalid container port: 0"),
    ((*BRIDGE, "-p", "80:80/xyz", IMAGE, "true"), 125, "invalid proto: xyz"),
    ((*BRIDGE, "-p", "999.1.1.1:80:80", IMAGE, "true"), 125, "invalid IP address: 999.1.1.1"),
    ((*BRIDGE, "-p", "192.0.2.7:80:80", IMAGE, "true"), 125, "192.0.2.7: this machine does not have"),
    ((*BRIDGE, "-p", "8123:80", IMAGE, "true"), 125, "port 8123/tcp is already in use"),
    ((*BRIDGE, "-p", "8080:80", "-p", "8080:81", IMAGE, "true"), 125, "port 8080/tcp is already in use"),
    ((*BRIDGE, "-p", "1-9000:1-9000", IMAGE, "true"), 125, r"port \d+/tcp (can't be published|is already)"),
    ((*BRIDGE, "--network", "nosuch", IMAGE, "true"), 125, "network nosuch not found"),
    ((*BRIDGE, "--network", "container:nosuch", IMAGE, "true"), 125, "no such container: nosuch"),
    ((*BRIDGE, "--network", "container:ok", IMAGE, "true"), 125, "container ok is not running"),
    ((*RUN, "--dns", "x", IMAGE, "true"), 125, "not correctly formatted: x"),
    ((*RUN, "--add-host", "a\nb:1.2.3.4", IMAGE, "true"), 125, r"'a\\nb' can't stand in"),
    ((*RUN, "--dns-option", "a\nnameserver 6.6.6.6", IMAGE, "true"), 125, "can't stand in a resolv.conf"),
    # containers
    (("start", "nosuch"), 1, "no such container: nosuch"),
    (("start", "-a", "broken"), 1, 'exec: "nosuch": executable file not found'),
    (("stop", "-s", "NOSUCH", "up"), 1, "invalid signal: NOSUCH"),
    (("kill", "-s", "999", "up"), 1, "invalid signal: 999"),
    (("kill", "ok"), 1, "container ok is not running"),
    (("rm", "up"), 1, "container up is running"),
    (("rm", "nosuch"), 1, "no such container: nosuch"),
    (("rename", "up", "ok"), 1, 'the name "ok" is in use'),
    (("rename", "up", "../x"), 1, "invalid container name"),
    (("pause", "ok"), 1, "container ok is not running"),
    (("unpause", "up"), 1, "container up is not paused"),
    (("logs", "--tail", "x", "up"), 1, "invalid --tail 'x'"),
    (("logs", BYTES), 1, "is not UTF-8"),
    (("top", "up", "--nosuch"), 1, "ps --nosuch shows no PID column"),
    (("commit", "up", "BAD"), 1, "invalid reference"),
    (("commit", "-c", "NOSUCH x", "up", "x:1"), 1, "'NOSUCH' can't be used in a change"),
    (("export", "-o", "/nosuch/x", "up"), 1, "/nosuch/x: no such file"),
    (("volume", "create", "../x"), 1, 'invalid volume name "../x"'),
    (("volume", "rm", "nosuch"), 1, "no such volume: nosuch"),
    (("system", "prune"), 1, "nobody can be asked here"),
    # builds: the line's number, and the line
    (("build", "nosuch"), 1, "context nosuch is not a folder"),
    (("build", "-f", "nosuch", "dir"), 1, "Dockerfile nosuch can't be read: no such file"),
    (("build", "-q", "dir"), 1, "Dockerfile has no instructions"),
    (("build", "-q", "unknown"), 1, "Dockerfile:4: unknown instruction: NOSUCH"),
    (("build", "-q", "nofrom"), 1, "Dockerfile:1: RUN before FROM"),
    (("build", "-q", "copy"), 1, "Dockerfile:2: COPY failed: .*nosuch"),
    (("build", "-q", "run"), 1, "Dockerfile:2: RUN exit 7: exit status 7"),
    (("build", "-q", "exec"), 1, 'Dockerfile:2: exec: "nosuch": executable file not found'),
    (("build", "-q", "base"), 1, 'Dockerfile:1: invalid reference "BAD"'),
    (("build", "-q", "json"), 1, "Dockerfile:2: the exec form must be"),
    (("build", "-q", "heredoc"), 1, "Dockerfile:2: here-document EOF is not ended"),
    (("build", "-q", "user"), 1, "Dockerfile:3: there is no user 'ghost'"),
    (("build", "-q", "url"), 1, "Dockerfile:2: http://127.0.0.1:1/x can't be fetched: connection refused"),
    (("build", "-q", "--target", "nosuch", "copy"), 1, "no stage 'nosuch' in Dockerfile"),
    # archives
    (("load", "-i", "nosuch"), 1, "no such file: nosuch"),
    (("load", "-i", "short.tar"), 1, "short.tar: this is no archive"),
    (("load", "-i", "garbage.tar"), 1, "garbage.tar: this is no archive"),
    (("load", "-i", "nothing.tar"), 1, "nothing.tar: this holds no images"),
    (("load", "-i", "broken.gz"), 1, "broken.gz: gzip stream is damaged"),
    (("import", "short.tar"), 1, "short.tar: tar is truncated"),
    (("import", "outside.tar"), 1, "outside.tar: layer entry ../x leaves the root"),
    (("import", "file", "BAD"), 1, "invalid reference"),
    (("import", "--platform", "x", "nothing.tar"), 1, "'x' is neither an operating system"),
    (("save", "nosuch"), 1, "no such image: nosuch"),
    (("save", "-o", "/dev/full", IMAGE), 1, "no space left on device"),
    (("save", "-o", "/nosuch/x", IMAGE), 1, "/nosuch/x: no such file"),
    # registries
    (("pull", "-q", "127.0.0.1:1/x:1"), 1, "can't reach 127.0.0.1:1: connection refused"),
    (("pull", "-q", "nosuch.invalid/x"), 1, "can't reach nosuch.invalid: its name can't be resolved"),
    (("pull", "-a", "127.0.0.1:1/x:1"), 1, "127.0.0.1:1/x:1: tag can't be used with --all-tags/-a"),
    (("pull", "-aq", "127.0.0.1:1/x"), 1, "can't reach 127.0.0.1:1: connection refused"),
    (("push", "-q", "nosuch:1"), 1, "no such image: nosuch:1"),
    (("push", "-a", "nosuch"), 1, "no such image: nosuch$"),
    (("push", "-a", IMAGE), 1, f"{IMAGE}: tag can't be used with --all-tags/-a"),
    (("push", "-a", f"x@sha256:{'0' * 64}"), 1, "tag can't be used with --all-tags/-a"),
    (("push", "-a", "BAD"), 1, "invalid reference"),
    (("push", "-a", "0" * 64), 1, "an image id, not a repository name"),
    (("login", "127.0.0.1:1"), 1, "nobody can be asked"),
    (("registry", "serve", "--listen", "x"), 1, "'x' is not an address to listen on"),
    (("registry", "serve", "--listen", "192.0.2.1:80"), 1, "can't listen on 192.0.2.1:80: cannot assign"),
    (("registry", "serve", "--listen", "127.0.0.1:8123", "--root", "reg"), 1, "127.0.0.1:8123 is in use"),
]  # fmt: skip


def name_of(case):
    return " ".join(str(word)[:20] for word in case[0][:7]).encode("ascii", "replace").decode()


@pytest.mark.parametrize(("words", "status", "pattern"), CASES, ids=map(name_of, CASES))
def test_bad_words_are_told_in_one_line_and_change_nothing(box, words, status, pattern):
    refused(box, words, status, pattern)


@pytest.mark.parametrize(
    "words",
    [
        ("-e", f"A={BYTES}", "-l", f"{BYTES}=\x1b[31m\nx", "--annotation", f"{BYTES}=1"),
        ("-v", f"v1:/{BYTES}"),
        ("-v", "/proc/meminfo:/proc/meminfo:ro"),
        ("--security-opt", "seccomp=./a:b=c.json"),
        ("--security-opt", "seccomp:./a:b=c.json"),
        ("--pids-limit", "-5", "--cpus", "0", "--memory", "99999999g"),
        ("--hostname", "x" * 64),
    ],
)
def test_odd_words_that_are_fine(box, words):
    box.estiva(*RUN, *words, IMAGE, "true")
    box.estiva("volume", "rm", "-f", "v1")


def test_bytes_reach_the_container_as_they_are(box):
    words = ("-e", f"A={BYTES}", IMAGE, "sh", "-c", 'echo "$A" "$1"', "-", BYTES)
    assert box.estiva(*RUN, *words, text=False).stdout == b"\xff\xfe \xff\xfe\n"


def test_no_pids_limit_means_no_limit(box):
    show = "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null"
    for given, expected in (("0", "max"), ("-1", "max"), ("77", "77")):
        assert box.out(*RUN, "--pids-limit", given, IMAGE, "sh", "-c", show, status=None) == expected


def test_many_and_large_words(box):
    many = [word for number in range(5000) for word in ("-e", f"V{number}={number}")]
    assert box.out(*RUN, *many, IMAGE, "sh", "-c", "env | grep -c ^V") == "5000"
    large = ["z" * 120_000] * 9
    assert box.out(*RUN, IMAGE, "sh", "-c", 'echo "$*" | wc -c', "-", *large) == str(9 * 120_001)


def test_an_env_file_may_be_a_pipe(box):
    read, write = os.pipe()
    os.write(write, b"A=from a pipe\n")
    os.close(write)
    words = [*RUN, "--env-file", f"/dev/fd/{read}", IMAGE, "sh", "-c", "echo $A"]
    done = subprocess.run(
        [*box.prefix, ESTIVA, *words],
        env=box.env, capture_output=True, text=True, pass_fds=[read], cwd=box.folder,
    )  # fmt: skip
    os.close(read)
    assert done.stdout == "from a pipe\n", done.stderr


def test_bytes_in_every_option_of_run(box):
    """Refused in one line, or used as they are; never an internal error."""
    before = settled(box)
    options = [option[1] for option in TABLE if option[2] != "flag"]

    def attempt(name):
        word = f"{BYTES}={BYTES}" if name in ("label", "annotation") else BYTES
        done = box.estiva(*RUN, f"--{name}={word}", IMAGE, "true", status=None)
        if name == "cidfile":
            os.unlink(f"{box.folder}/{word}")
        if done.returncode or done.stderr:
            assert done.returncode in (125, 126, 127), (name, done.returncode, done.stderr)
            one_line(done.stderr)
        return name

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(attempt, options))) == len(options) > 60
    eventually(lambda: state(box) == before)  # the files of the last --rm go after its end has been told


def test_control_characters_do_not_reach_the_terminal(box):
    evil = "\x1b]0;owned\x07\x1b[2J\r"
    box.estiva(
        "create", "--name", "evil", "--network", "none", "-l", f"a={evil}", "-e", f"A={evil}", IMAGE, evil
    )
    try:
        for words in (
            ("ps", "-a", "--no-trunc"),
            ("ps", "-a", "--format", "table {{.Names}}\t{{.Labels}}\t{{.Command}}"),
            ("inspect", "evil"),
            ("diff", "evil"),
        ):
            out = box.out(*words)
            assert not any(ord(c) < 32 and c != "\n" for c in out), out
        done = box.estiva("start", "evil", status=1)
        assert "\x1b" not in done.stderr and "\\x1b" in one_line(done.stderr)
    finally:
        box.estiva("rm", "evil")


def test_a_failed_write_of_an_archive_leaves_what_was_there(box):
    target = pathlib.Path(box.folder, "kept.tar")
    target.write_text("before")
    limit = ["sh", "-c", 'ulimit -f 100; trap "" XFSZ; exec "$@"', "-"]  # 51,200 bytes
    done = subprocess.run(
        [*box.prefix, *limit, ESTIVA, "save", "-o", "kept.tar", IMAGE],
        env=box.env, capture_output=True, text=True, cwd=box.folder,
    )  # fmt: skip
    assert done.returncode == 1 and "kept.tar: file too large" in one_line(done.stderr)
    assert target.read_text() == "before"
    target.unlink()
    assert not [name for name in os.listdir(box.folder) if name.startswith("kept.tar")]
