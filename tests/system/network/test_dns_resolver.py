"""The resolver as a process, and what a monitor does with it, in network namespaces that stand for containers."""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading

from dnskit import A, Answer, Client, Outside, Rows, eventually, query, read_message, respond
from estiva.network.dns import handover
from netlab import Lab, at, inside, own_netns

SERVER = ("127.0.0.11", 53)
SOME = bytes((192, 0, 2, 1))


class Names(Lab):
    """Containers on one network, 10.9.0.N, each with its netns; what monitors do is done here."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = Rows(self.paths.database)
        self.rows.network("n1", "net")
        self.rows.network("n2", "inner", Internal=True)
        self.handed: list[handover.Names] = []

    def __exit__(self, *error: object) -> None:
        for names in self.handed:
            names.close()
        for pid in self.resolvers():
            os.kill(pid, signal.SIGCONT)
            eventually(lambda pid=pid: gone(pid))
        self.rows.db.close()
        super().__exit__(*error)

    def container(self, number: int, *servers: tuple[str, bool], network: str = "n1") -> int:
        """The pid of a container with its name server."""
        identity = f"{number:064x}"
        pid = self.netns()
        self.rows.container(identity, f"c{number}")
        self.rows.join(network, identity, f"10.9.0.{number}")
        sockets = handover.open_sockets(pid, servers)
        names = handover.Names(
            identity,
            self.paths.root,
            self.paths.run_root,
            {"servers": list(servers), "ndots": False},
            sockets,
        )
        names.register()
        self.handed.append(names)
        return pid

    def resolvers(self) -> list[int]:
        """The resolvers of this network namespace that run."""
        found = []
        for name in os.listdir("/proc"):
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    ours = file.read().startswith(b"estiva: names")
                if ours and os.readlink(f"/proc/{name}/ns/net") == os.readlink("/proc/self/ns/net"):
                    found.append(int(name))
            except OSError:
                continue
        return found

    def resolver(self) -> int:
        (pid,) = eventually(self.resolvers)  # type: ignore[misc]
        return int(pid)


def gone(pid: int) -> bool:
    """Ended, whether or not somebody has reaped it."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def ask(pid: int, name: str, kind: int = A) -> Answer:
    with at(pid):
        return Client(SERVER, timeout=60).ask(name, kind)


def over_tcp(pid: int, name: str) -> Answer:
    with at(pid):
        return Client(SERVER, timeout=60).over_tcp(query(name))[0]


@own_netns
def test_containers_ask_at_127_0_0_11() -> None:
    with Names() as lab:
        one, two = lab.container(1), lab.container(2)
        assert ask(one, "c2").addresses == over_tcp(one, "c2.net").addresses == ["10.9.0.2"]
        assert ask(two, "c1").addresses == ["10.9.0.1"]
        assert len(lab.resolvers()) == 1


@own_netns
def test_port_53_is_free_for_the_container_s_own_name_server() -> None:
    with Names() as lab:
        pid = lab.container(1)
        with at(pid):
            own = [socket.socket(socket.AF_INET, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)]
            six = [socket.socket(socket.AF_INET6, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)]
        for held in own:
            held.bind(("0.0.0.0", 53))
        own[1].listen()
        assert ask(pid, "c1").addresses == over_tcp(pid, "c1").addresses == ["10.9.0.1"], (
            "and ours is asked still"
        )
        with at(pid):
            local = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        local.connect(("127.0.0.1", 53))
        local.send(b"to its own")
        own[0].settimeout(60)
        assert own[0].recv(99) == b"to its own"
        for held in own:
            held.close()
        for held in six:
            held.bind(("::", 53))
        assert ask(pid, "c1").addresses == ["10.9.0.1"]
        for held in (*six, local):
            held.close()


@own_netns
def test_without_nftables_the_port_itself_is_taken() -> None:
    def refuse(*_: object) -> None:
        raise OSError(93, "protocol not supported")

    handover.redirect, kept = refuse, handover.redirect  # type: ignore[assignment]
    try:
        with Names() as lab:
            pid = lab.container(1)
            assert ask(pid, "c1").addresses == over_tcp(pid, "c1").addresses == ["10.9.0.1"]
    finally:
        handover.redirect = kept


@own_netns
def test_nothing_of_the_netns_outlives_it() -> None:
    with Names() as lab:
        pid = lab.container(1)
        assert "127.0.0.11" in inside(pid, "nft", "list", "ruleset")
        assert subprocess.run(["nft", "list", "ruleset"], check=True, capture_output=True).stdout == b""


@own_netns
def test_it_has_no_rights() -> None:
    with Names() as lab:
        ask(lab.container(1), "c1")
        pid = lab.resolver()
        with open(f"/proc/{pid}/status") as file:
            status = {key: value.strip() for key, _, value in (line.partition(":") for line in file)}
        assert status["Uid"].split() == status["Gid"].split() == ["65533"] * 4 and not status["Groups"]
        assert {status[f"Cap{one}"] for one in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
        assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
        assert os.stat(f"/proc/{pid}/fd").st_uid == 0, "not dumpable"
        with open(f"/proc/{pid}/environ", "rb") as file:
            assert not file.read().strip(b"\0")
        for fd in os.listdir(f"/proc/{pid}/fd"):
            where = os.readlink(f"/proc/{pid}/fd/{fd}")
            with open(f"/proc/{pid}/fdinfo/{fd}") as file:
                flags = int(file.read().split("flags:")[1].split()[0], 8)
            plain = where.startswith("/") and not where.endswith(("-wal", "-shm")) and where != "/dev/null"
            assert not plain or flags & 3 == 0, f"{where} may be written to"


@own_netns
def test_one_that_is_killed_is_followed_by_another_and_no_query_is_lost_for_long() -> None:
    """Fifty times, under a stream of queries from two containers. A query that it has read and not answered is lost,
    as datagrams may be, and asked again; all others wait in the kernel."""
    with Names() as lab:
        pids = [lab.container(1), lab.container(2)]
        poll = select.poll()
        over = threading.Event()
        lost, answered = [0], [0]

        def stream(pid: int) -> None:
            with at(pid):
                held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            held.settimeout(2)
            held.connect(SERVER)
            number = 0
            while not over.is_set():
                number = (number + 1) & 0xFFFF
                for _ in range(30):
                    held.send(query("c2", number=number))
                    try:
                        while Answer(data := held.recv(999)).id != number:
                            pass
                        assert Answer(data).addresses == ["10.9.0.2"]
                        answered[0] += 1
                        break
                    except TimeoutError:
                        lost[0] += 1
                else:
                    raise AssertionError("nobody answers")
            held.close()

        threads = [threading.Thread(target=stream, args=(pid,)) for pid in pids]
        ask(pids[0], "c1")
        for thread in threads:
            thread.start()
        for _ in range(50):
            before = answered[0]
            eventually(lambda before=before: answered[0] > before + 20, 120)
            os.kill(lab.resolver(), signal.SIGKILL)
            for names in lab.handed:  # as monitors do, whom the end of the connection wakes
                assert names.channel is not None
                poll.register(names.channel.fileno(), select.POLLIN)
                assert poll.poll(60_000)
                poll.unregister(names.channel.fileno())
                names.renew()
        before = answered[0]
        eventually(lambda: answered[0] > before + 20, 120)
        over.set()
        for thread in threads:
            thread.join(120)
        assert lost[0] <= 2 * 50 and len(lab.resolvers()) == 1


@own_netns
def test_many_who_come_at_once_start_one() -> None:
    with Names() as lab:
        pid = lab.container(1)
        old = lab.resolver()
        os.kill(old, signal.SIGKILL)
        eventually(lambda: gone(old))
        children = []
        names = lab.handed[0]
        for _ in range(16):
            child = os.fork()
            if child == 0:
                try:
                    names.renew()
                    assert names.channel is not None
                    os._exit(0 if not select.select([names.channel], [], [], 2)[0] else 1)
                finally:
                    os._exit(2)
            children.append(child)
        assert ask(pid, "c1").addresses == ["10.9.0.1"]
        assert len(lab.resolvers()) == 1
        assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 16


@own_netns
def test_it_ends_with_the_last_container_and_the_next_starts_another() -> None:
    with Names() as lab:
        ask(lab.container(1), "c1")
        pid = lab.resolver()
        lab.handed.pop().close()
        eventually(lambda: gone(pid))
        assert ask(lab.container(2), "c2").addresses == ["10.9.0.2"]


@own_netns
def test_one_that_is_stopped_keeps_nobody_from_starting() -> None:
    with Names() as lab:
        lab.container(1)
        os.kill(lab.resolver(), signal.SIGSTOP)
        pid = lab.container(2)
        os.kill(lab.resolver(), signal.SIGCONT)
        assert ask(pid, "c2").addresses == ["10.9.0.2"]


@own_netns
def test_another_database_in_its_place_is_taken() -> None:
    """As `system check --repair` puts it there for a damaged one."""
    with Names() as lab:
        pid = lab.container(1)
        ask(pid, "c1")
        old = lab.resolver()
        lab.rows.db.close()
        for end in ("-wal", "-shm", ""):
            os.rename(lab.paths.database + end, lab.paths.database + ".old" + end)
        lab.rows = Rows(lab.paths.database)
        lab.rows.network("n1", "net")
        lab.rows.container(f"{1:064x}", "other")
        lab.rows.join("n1", f"{1:064x}", "10.9.0.77")
        eventually(lambda: gone(old))
        lab.handed[0].renew()
        assert ask(pid, "other").addresses == ["10.9.0.77"]


@own_netns
def test_from_where_other_servers_are_asked() -> None:
    """The host's from the host, those of --dns from the container; from an internal network the host's are not."""
    with Names() as lab:
        here = Outside(lambda data: respond(data, (A, SOME)), "127.0.0.53", 53)
        host = ("127.0.0.53", True)
        pid = lab.container(1, host)
        assert ask(pid, "far.org").addresses == over_tcp(pid, "far.org").addresses == ["192.0.2.1"]
        inner = lab.container(2, host, network="n2")
        asked = len(here.asked)
        assert ask(inner, "c2").addresses == ["10.9.0.2"] and ask(inner, "far.org").rcode == 2
        assert len(here.asked) == asked
        own = lab.container(3, ("127.0.0.9", False))
        with at(own):
            there = Outside(lambda data: respond(data, (A, b"\5\5\5\5")), "127.0.0.9", 53)
        for _ in range(3):
            assert ask(own, "far.org").addresses == over_tcp(own, "far.org").addresses == ["5.5.5.5"]
        own6 = lab.container(4, ("::1", False), ("127.0.0.53", True))
        assert ask(own6, "far.org").addresses == ["192.0.2.1"], "nobody is at ::1 there"
        here.close()
        there.close()


@own_netns
def test_a_flood_from_a_container_harms_no_other() -> None:
    with Names() as lab:
        loud, quiet = lab.container(1), lab.container(2)
        code = (
            "import os, socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.connect(('127.0.0.11', 53))\n"
            f"data = {query('c2')!r}\nprint(flush=True)\n"
            "while True:\n try:\n  s.send(data); s.send(os.urandom(60))\n except OSError: pass"
        )
        flood = subprocess.Popen(
            ["nsenter", "-t", str(loud), "-n", sys.executable, "-c", code], stdout=subprocess.PIPE
        )
        try:
            assert flood.stdout is not None and flood.stdout.readline()
            for _ in range(50):
                assert ask(quiet, "c1").addresses == ["10.9.0.1"]
        finally:
            flood.kill()
            flood.wait()


@own_netns
def test_who_holds_connections_open_harms_no_other() -> None:
    with Names() as lab:
        loud, quiet = lab.container(1), lab.container(2)
        with at(loud):
            held = [socket.create_connection(SERVER, 60) for _ in range(200)]
            for each in held:
                try:
                    each.sendall(b"\xff")
                except OSError:
                    pass
        with at(quiet), socket.create_connection(SERVER, 60) as one:
            one.sendall(struct.pack("!H", len(query("c1"))) + query("c1"))
            assert Answer(read_message(one)).addresses == ["10.9.0.1"]
        assert over_tcp(loud, "c2").addresses == ["10.9.0.2"]
        for each in held:
            each.close()
