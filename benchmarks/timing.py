"""A worker of benchmarks/run.py: times commands that it is told, in the namespaces that it was started in.

Reads one JSON list (argv) a line, runs it with no input and no output, answers {"ms", "status", "error"}.
"""

import json
import os
import subprocess
import sys
import tempfile
import time


def timed(argv, env):
    with tempfile.TemporaryFile() as errors:
        begin = time.perf_counter()
        pid = os.posix_spawn(
            argv[0],
            argv,
            env,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, errors.fileno(), 2),
            ],
        )
        _, status = os.waitpid(pid, 0)
        ms = (time.perf_counter() - begin) * 1000
        errors.seek(0)
        return {
            "ms": ms,
            "status": os.waitstatus_to_exitcode(status),
            "error": errors.read(4096).decode(errors="replace"),
        }


def main():
    for command in sys.argv[1:]:  # what to do in the namespaces first
        subprocess.run(command, shell=True, check=True)
    for line in sys.stdin:
        print(json.dumps(timed(json.loads(line), dict(os.environ))), flush=True)


if __name__ == "__main__":
    main()
