#!/usr/bin/env python3
"""Measures throw-away boxes from a Python program: pools, snapshots, box.python; crun exec beside them.

    benchmarks/boxes.py [--rounds N] [--only NAME ...] [--json FILE]

What it needs, and how it is kept apart from the machine, is as of benchmarks/run.py.
"""

import json
import os
import pathlib
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from bench import ESTIVA, IMAGE, Bench, main  # noqa: E402

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "src"))
CHANGED = 200  # MB
PYTHON = "python:bench"


def wall(action):
    begin = time.perf_counter()
    action()
    return (time.perf_counter() - begin) * 1000


def resident():
    """Of this program, in MB."""
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096 / (1 << 20)


class Boxes(Bench):
    def engine(self):
        import estiva

        os.environ |= self.estiva_env
        return estiva, estiva.Engine()

    def start_dockerd(self):
        """No row has docker."""

    def make_rootfs(self):
        """The bundle of the other programs; only Estiva needs it as an image."""
        rootfs = pathlib.Path(self.folder, "bundle/rootfs")
        (rootfs / "bin").mkdir(parents=True)
        for name in ("proc", "sys", "dev", "tmp", "etc", "root"):
            (rootfs / name).mkdir()
        subprocess.run(["cp", "/bin/busybox", str(rootfs / "bin/busybox")], check=True)
        for applet in ("sh", "true", "sleep", "cat", "ls", "dd"):
            (rootfs / "bin" / applet).symlink_to("busybox")
        (rootfs / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (rootfs / "etc/group").write_text("root:x:0:\n")
        subprocess.run(["crun", "spec", "-b", str(rootfs.parent)], check=True)
        config = json.loads((rootfs.parent / "config.json").read_text())
        config["process"].update(terminal=False, args=["/bin/sleep", "100000"])
        (rootfs.parent / "config.json").write_text(json.dumps(config))
        archive = f"{self.folder}/rootfs.tar"
        subprocess.run(["tar", "-C", str(rootfs), "-cf", archive, "."], check=True)
        self.estiva.run(ESTIVA, "import", archive, IMAGE)

    def pool_row(self):
        """A box from the pool with one command, beside crun exec of a container that runs."""
        estiva, engine = self.engine()
        crun = ["crun", "--root", f"{self.folder}/crun"]
        self.v1.run(*crun, "run", "--detach", "-b", f"{self.folder}/bundle", "bench")
        with estiva.pool(IMAGE, size=8, network="none", engine=engine) as pool:

            def settle():
                """The pool is full, and what ended before has gone: that is nobody's to wait for."""
                while pool.ready < pool.size:
                    time.sleep(0.01)
                time.sleep(0.1)

            def taken():
                settle()
                held = pool.box()
                box = None
                try:

                    def take():
                        nonlocal box
                        box = held.__enter__()
                        box.exec(["/bin/true"]).check()

                    return wall(take)
                finally:
                    if box is not None:
                        held.__exit__(None, None, None)

            def entered():
                settle()
                return self.v1.run(*crun, "exec", "bench", "/bin/true")

            cases = {"estiva": taken, "crun exec": entered}
            self.rounds("a box from the pool, and `true` in it", cases, [("crun exec", 0.5)])
            with pool.box() as box:
                cases = {
                    "estiva": lambda: wall(lambda: box.exec(["/bin/true"]).check()),
                    "crun exec": cases["crun exec"],
                }
                self.rounds("`true` in a box of the pool", cases, [("crun exec", 0.5)])
        self.v1.run(*crun, "delete", "-f", "bench")

    def snapshot_rows(self):
        estiva, engine = self.engine()
        took, begun = [], {"estiva": [], "from an image": []}
        with estiva.container(IMAGE, network="none", engine=engine) as box:
            for turn in range(self.count):
                fill = f"dd if=/dev/urandom of=/changed bs=1M count={CHANGED}"
                box.exec(["sh", "-c", fill]).check()
                begin = time.perf_counter()
                made = box.snapshot()
                took.append((time.perf_counter() - begin) * 1000)
                pair = [("from an image", IMAGE), ("estiva", made)]
                if turn % 2:
                    pair.reverse()  # the second one meets the end of the first
                for who, source in pair:
                    block = estiva.container(source, network="none", engine=engine)
                    begun[who].append(wall(block.__enter__))
                    block.__exit__(None, None, None)
        self.keep(f"snapshot of a box with {CHANGED} MB changed", {"estiva": took}, [])
        self.results.rows[-1]["limit"] = 20
        self.keep("a box from a snapshot", begun, [("from an image", 1.05)])

    def python_row(self):
        estiva, engine = self.engine()
        tell = "import sysconfig; print(sysconfig.get_path('stdlib'))"
        library = subprocess.check_output(["/usr/bin/python3", "-c", tell], text=True).strip()
        self.estiva.run(ESTIVA, "image", "from-host", "--tag", PYTHON, "-f", library, "/usr/bin/python3")
        with estiva.container(PYTHON, network="none", engine=engine) as box:
            box.python.start()
            cases = {
                "estiva": lambda: wall(lambda: box.python.run("1 + 1")),
                "python3 -c in the box": lambda: wall(
                    lambda: box.exec(["python3", "-c", "print(1 + 1)"]).check()
                ),
            }
            self.rounds("box.python.run of 1 + 1", cases)

    def crowd_row(self):
        """1,000 boxes through a pool of 8 in 64 threads."""
        estiva, engine = self.engine()

        def one(number):
            with pool.box() as box:
                assert box.exec(["sh", "-c", f"echo {number}"]).output == f"{number}\n"

        with (
            estiva.pool(IMAGE, size=8, network="none", engine=engine) as pool,
            ThreadPoolExecutor(64) as threads,
        ):
            begin = time.perf_counter()
            list(threads.map(one, range(1000)))
            seconds = time.perf_counter() - begin
        self.told(engine, "in 64 threads", seconds)

    def aio_row(self):
        """1,000 boxes through a pool of 8 in one loop, all at once."""
        import asyncio

        estiva, engine = self.engine()

        async def one(pool, number):
            async with pool.box() as box:
                assert (await box.exec(["sh", "-c", f"echo {number}"])).output == f"{number}\n"

        async def crowd():
            async with estiva.aio.pool(IMAGE, size=8, network="none", engine=engine) as pool:
                await asyncio.gather(*(one(pool, number) for number in range(100)))
                before = resident()
                begin = time.perf_counter()
                await asyncio.gather(*(one(pool, number) for number in range(1000)))
                return time.perf_counter() - begin, resident() - before

        seconds, more = asyncio.run(crowd())
        self.told(engine, "in one loop", seconds)
        self.results.add(
            "more memory after the 1,000 than after 100 before them", {"estiva": more}, unit="MB"
        )

    def told(self, engine, where, seconds):
        assert not engine.containers.list(all=True)
        name = f"boxes through a pool of 8, {where}"
        self.results.add(name, {"estiva": 1000 / seconds}, unit="per second", more=True)
        self.results.add(
            f"resident memory of the program after them, {where}", {"estiva": resident()}, unit="MB"
        )


ROWS = {
    "pool": Boxes.pool_row,
    "snapshot": Boxes.snapshot_rows,
    "python": Boxes.python_row,
    "crowd": Boxes.crowd_row,
    "aio": Boxes.aio_row,
}


if __name__ == "__main__":
    main(Boxes, ROWS, __doc__, rounds=15)
