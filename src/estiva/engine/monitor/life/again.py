"""A container that is to be started again, by its restart policy: the monitor of its last run waits for that,
and becomes the program that does it (engine/restart.py).

    monitor        shell, if it is long             python
      |  execve -->  |  SIGALRM: the time is up  -->  |  does what `estiva start` does: forks a new monitor
      |              |                                |  ends

The container's lock goes through both execve(2), so that it is held all the time: the container is restarting
until it runs. A timer goes through them too (setitimer(2)), while a Python process that only waits would keep
some MB, for a minute. Who is killed here leaves a container that has ended.
"""

from __future__ import annotations

import _signal
import os
import sys
import time

from estiva import programs
from estiva.engine.monitor.hibernate import SOURCE, environment, title

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.types import Plan

SHORT = 3.0  # seconds: less is not worth a shell, which also has to be there before the alarm
SCRIPT = """trap 'trap "" ALRM; exec "$@"' ALRM
while :; do read -r line; done"""
START = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from estiva.engine import restart; restart.main(*sys.argv[2:5], int(sys.argv[5]))"
)


def wait(plan: Plan, hold: int, delay: float) -> None:
    """Wait for `delay` seconds and start the container again; does not return. `hold`, its lock, is the only
    fd of this process but the first three, which are /dev/null.
    """
    os.set_inheritable(hold, True)
    python = [sys.executable, "-I", "-S", "-c", START, SOURCE]
    python += [plan["root"], plan["run_root"], plan["id"], str(hold)]
    try:
        shell = programs.find("dash") if delay >= SHORT else ""
        if shell:
            empty, feed = os.pipe()  # what the shell reads from: nothing comes, and no end
            os.set_inheritable(feed, True)
            os.dup2(empty, 0)
            _signal.signal(_signal.SIGALRM, _signal.SIG_DFL)
            _signal.setitimer(_signal.ITIMER_REAL, delay)
            os.execve(shell, [title(plan), "-c", SCRIPT, "sh", *python], environment())
        time.sleep(delay)
        os.execve(python[0], python, environment())
    finally:
        os._exit(1)
