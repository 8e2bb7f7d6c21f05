"""The spawner's side: processes that wait for a Python program's requests, and become what they ask for.

    program                      spawner                  worker
                                 fork, ahead ---------->    waits for a request
    request: plan + fds  ------- socket --------------->    takes it
                                 <--------------- TAKEN
                                 fork, unless one waits     is the container's monitor, to its end
                                 <---------------- FREE
                                 the socket ----------->    waits for another request, for a while

A worker that has been a monitor has copied most of the memory that a fork shares at first, and is connected
to the database: half the work of a short container. So it serves again, unless its container was out of the
ordinary. All wait on one socket; the kernel gives a request to the one that has waited for longest.
"""

from __future__ import annotations

import os
import select
from _socket import (
    AF_UNIX,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    MSG_DONTWAIT,
    SCM_RIGHTS,
    SO_RCVTIMEO,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socket,
)
from _struct import pack, unpack

from estiva.engine.launch.reserve import LINGER, TAKEN
from estiva.engine.monitor import exec_session, main, protocol
from estiva.engine.monitor.reservation import Reservation, Unusual
from estiva.engine.state import teardown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.types import Handed, Plan, Request

FREE, GONE = b"f", b"g"
SPARE = 4  # workers that may wait at once
LIVES = 64  # requests that it serves, so that it does not grow


def serve(fd: int, program: int, ledger: int) -> None:
    """The spawner's whole life; `program` is a pidfd of whom it serves, `ledger` that of ledger.py."""
    requests = socket(AF_UNIX, SOCK_SEQPACKET, 0, fd)
    try:
        attend(requests, program)
    finally:
        from estiva.engine.launch import ledger as begun

        begun.undo(ledger)
        decline(requests)
        os._exit(0)


def decline(requests: socket) -> None:
    """The program has gone, and what it had asked for is in the queue still."""
    from estiva.engine.launch.ledger import undo_one

    requests.setblocking(False)
    try:
        while (message := protocol.receive(requests))[0]:
            request, fds = message
            for fd in fds:
                if fd >= 0:
                    os.close(fd)
            if request["kind"] == "container":
                undo_one(teardown.paths(request["plan"]), request["plan"]["id"])
    except BlockingIOError:
        pass  # a fork of the program has the other end


def attend(requests: socket, program: int) -> None:
    """Have workers there, until the program has gone."""
    import _signal
    import gc

    from estiva.linux import immortal

    load()
    _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)  # workers are not waited for
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    fd = requests.fileno()
    for inherited in (fd, program):
        os.set_inheritable(inherited, False)
    requests.setsockopt(SOL_SOCKET, SO_RCVTIMEO, pack("@ll", int(LINGER), 0))
    gc.disable()
    workers: dict[int, socket] = {}  # those that may serve
    first = -1  # who comes first does not wait for `immortalize`, and serves once
    waiting: set[int] = set()
    poll = select.poll()
    poll.register(program, select.POLLIN)
    while True:
        if not waiting:
            ours, theirs = protocol.pair()
            if os.fork() == 0:
                for channel in (ours, *workers.values()):
                    channel.close()
                Worker(theirs, requests, program).live()
            theirs.close()
            number = ours.fileno()
            workers[number] = ours
            waiting.add(number)
            poll.register(number, select.POLLIN)
            if first < 0:
                first = number
                immortal.immortalize()
                gc.freeze()
        for number, _ in poll.poll():
            if number == program:
                return
            said = hear(workers[number])
            waiting.discard(number)
            if said == GONE:
                return
            again = number != first and len(waiting) < SPARE
            if said == FREE and again and give(workers[number], fd):
                waiting.add(number)
            elif said != TAKEN:  # it has ended, or been killed, or is to end
                poll.unregister(number)
                workers.pop(number).close()
                first = 0 if number == first else first


def hear(worker: socket) -> bytes:
    try:
        return worker.recv(1)
    except ConnectionError:
        return b""


def give(worker: socket, fd: int) -> bool:
    """Hand the socket of requests to a worker. False if it has gone."""
    try:
        worker.sendmsg([FREE], [(SOL_SOCKET, SCM_RIGHTS, pack("@i", fd))])
        return True
    except OSError:
        return False


def load() -> None:
    """What a monitor or an exec will use besides: loaded once, shared by every fork."""
    from estiva.network import bridge  # noqa: F401
    from estiva.runtime import cgroup
    from estiva.store import database  # noqa: F401

    cgroup.preload()


class Worker:
    """One fork of the spawner, to which it speaks by `channel`.

    While it serves it has no hold of `requests`: with the spawner killed, the program is to see by that
    socket that nobody listens any more.
    """

    def __init__(self, channel: socket, requests: socket, program: int) -> None:
        self.channel = channel
        self.requests = requests
        self.program = program

    def live(self) -> None:
        """Serve until the program has gone, nothing comes or something was out of the ordinary; then end."""
        import _signal

        try:
            _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
            os.setsid()
            main.alone({self.channel.fileno(), self.requests.fileno(), self.program})
            message, fds = self.first()
            self.say(TAKEN if message else GONE)
            lives = LIVES
            while message and self.become(message, fds) and (lives := lives - 1) and self.say(FREE):
                message, fds = self.next()
                self.say(TAKEN if message else GONE)
        except BlockingIOError:
            pass  # nothing came: the memory is worth more
        finally:
            os._exit(0)

    def first(self) -> tuple[Request | None, list[int]]:
        """The first request, however long it takes: so far all memory is shared."""
        poll = select.poll()
        poll.register(self.requests.fileno(), select.POLLIN)
        while True:
            poll.poll()
            try:
                return self.take()
            except BlockingIOError:
                pass  # another was faster

    def next(self) -> tuple[Request | None, list[int]]:
        """A further request, or None if the spawner wants no more. Raises BlockingIOError after LINGER."""
        _, ancillary, _, _ = self.channel.recvmsg(1, CMSG_SPACE(4), MSG_CMSG_CLOEXEC)
        if not ancillary:
            return None, []
        self.requests = protocol.adopt(unpack("@i", ancillary[0][2])[0])
        return self.take()

    def take(self) -> tuple[Request | None, list[int]]:
        message, fds = protocol.receive(self.requests)
        self.requests.close()
        return message, fds

    def say(self, word: bytes) -> bool:
        """False when the spawner was killed: what was taken is served still."""
        try:
            self.channel.send(word)
            return True
        except OSError:
            return False

    def become(self, message: Request, fds: list[int]) -> bool:
        """Be what was asked for; whether this process can serve again."""
        channel, stdio = protocol.adopt(fds[0]), (fds[2], fds[3], fds[4])
        if message["kind"] == "exec":
            exec_session.become(message["plan"], channel, stdio, self.program, fds[5:])
            return False  # it does not come back
        if message["kind"] == "reserve":
            return self.reserve(message["plan"], channel)
        return self.monitor(message["plan"], channel, stdio, fds[1], fds[5:])

    def monitor(
        self,
        plan: Plan,
        channel: socket,
        stdio: tuple[int, int, int],
        hold: int,
        mounts: list[int],
        reservation: Reservation | None = None,
    ) -> bool:
        if plan["detach"]:
            self.channel.close()
        return (
            main.serve(plan, channel, stdio, hold, mounts, reservation, self.program) and not plan["detach"]
        )

    def reserve(self, plan: Plan, channel: socket) -> bool:
        """Make what can be made of the next container, and wait for it for a while: see reserve.py."""
        try:
            held = Reservation(plan)
        except Unusual:
            channel.close()
            return True
        if not self.wanted(held, channel):
            held.discard()
            held.leave()
            channel.close()
            return True
        # from here on the run folder is the program's too
        message: Handed | None = None
        try:
            channel.sendmsg([TAKEN], [(SOL_SOCKET, SCM_RIGHTS, pack("@i", held.hold))])
            message, fds = protocol.receive(channel)
        except ConnectionError:
            pass  # it was killed after it had taken it
        if message:
            return self.monitor(message["plan"], channel, (fds[0], fds[1], fds[2]), held.hold, fds[3:], held)
        held.undo()
        channel.close()
        return True

    def wanted(self, held: Reservation, channel: socket) -> bool:
        """Whether the program takes the reservation, before long."""
        try:
            channel.send(held.id.encode())
            return held.waits(channel, LINGER) and channel.recv(1, MSG_DONTWAIT) == TAKEN
        except OSError:
            return False  # the program has gone, or said nothing
