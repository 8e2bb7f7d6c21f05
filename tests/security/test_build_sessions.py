"""Hostile clients of BuildKit's sessions: what they tell of their files ends their own build at most (K10, K14, K22)."""

import asyncio
import pathlib

import pytest

from apikit import IMAGE, serving
from buildclient import client
from enginekit import eventually
from estiva.api.buildkit.messages import PACKET_DATA, PACKET_ERR, PACKET_FIN, PACKET_STAT
from estiva.api.buildkit.rpc import RpcError

LINK, CHARACTER, PIPE, DIR = 1 << 27 | 0o777, 1 << 26 | 1 << 21, 1 << 25, 1 << 31 | 0o755
END = {"type": PACKET_STAT}
OUTSIDE = "/etc/passwd"


@pytest.fixture(scope="module")
def api():
    with serving() as made:
        yield made


def using(api, work):
    async def run():
        async with client(api.socket) as kit:
            kit.folders = {"dockerfile": {"Dockerfile": f"FROM {IMAGE}\nCOPY . /got\n".encode()}}
            return await asyncio.wait_for(work(kit), 60)

    return asyncio.run(run())


def left(api):
    return [
        *pathlib.Path(api.folder).glob("*/cache/build/contexts/*.once"),
        *pathlib.Path(api.folder).glob("run/build/*"),
    ]


def told(*stats):
    return [*({"stat": stat} for stat in stats), END]


@pytest.mark.parametrize(
    ("packets", "words"),
    [
        (told({"path": "a/../../x", "size": 1}), "impossible path"),
        (told({"path": "a\0b", "size": 1}), "impossible path"),
        (told({"path": "", "size": 1}), "impossible path"),
        (told({"path": "./a", "size": 1}), "impossible path"),
        (told({"path": "a//b", "size": 1}), "impossible path"),
        (told({"path": "a" * (1 << 20), "size": 1}), "impossible path"),
        (told({"path": "a" * 300, "size": 1}), "name too long"),
        (told({"path": "l", "mode": LINK, "link": "x" * (1 << 20)}), "name too long"),
        (told({"path": "l", "mode": LINK, "link": "/etc"}, {"path": "l/passwd", "size": 1}), "below no folder"),
        (told({"path": "b", "size": 1}, {"path": "a", "size": 1}), "out of their order"),
        (told({"path": "a", "size": 1}, {"path": "a", "size": 1}), "out of their order"),
        (told({"path": "c", "mode": CHARACTER}), "device"),
        (told({"path": "h", "link": "../../../../etc/passwd"}), "another name of no file"),
        (told({"path": "h", "link": OUTSIDE}), "another name of no file"),
        ([END, {"stat": {"path": "late"}}], "more files than there are"),
        ([{"type": PACKET_DATA, "id": 0, "data": b"x"}], "not asked for"),
        ([{"type": PACKET_FIN}], "before all was sent"),
        ([{"type": PACKET_ERR, "data": b"a\nb\x1b[31m" * 1000}], "can.t send its files: a"),
        ([{"type": 99}, {"type": PACKET_FIN}], "before all was sent"),
    ],
)  # fmt: skip
def test_what_a_context_tells(api, packets, words):
    async def work(kit):
        kit.packets = {"context": packets}
        with pytest.raises(RpcError, match=words) as error:
            await kit.build()
        assert len(error.value.message) < 2000 and "\x1b" not in error.value.message

    using(api, work)
    eventually(lambda: not left(api))
    assert pathlib.Path(OUTSIDE).stat().st_nlink == 1


@pytest.mark.parametrize(
    ("size", "sent", "kept"),
    [
        (3, b"x" * 8000, b"xxx"),
        (8, b"xy", b"xy"),
        (-1, b"xyz", b""),
        (1 << 62, b"xyz", b"xyz"),
    ],
    ids=["longer", "shorter", "below nothing", "immense"],
)
def test_files_that_lie_about_their_size(api, size, sent, kept):
    """The image has what came, and no more than was told."""

    async def work(kit):
        kit.packets = {"context": told({"path": "f", "mode": 0o644, "size": size})}
        data = {"type": PACKET_DATA}
        kit.data = {"context": lambda number: [{**data, "id": number, "data": sent}, {**data, "id": number}]}
        return (await kit.build(exporters=[{"type": "moby", "attrs": {"name": "lies:1"}}]))[
            "containerimage.digest"
        ]

    using(api, work)
    done = api.docker("run", "--rm", "--network", "none", "lies:1", "cat", "/got/f")
    assert done.stdout.encode() == kept


def test_answers_of_the_wrong_number_and_streams_without_end(api):
    async def wrong(kit):
        kit.packets = {"context": told({"path": "f", "mode": 0o644, "size": 3})}
        kit.data = {"context": lambda number: [{"type": PACKET_DATA, "id": number + 7, "data": b"abc"}]}
        with pytest.raises(RpcError, match="not asked for"):
            await kit.build()

    async def silent(kit):
        """It never answers; once it goes, nothing is left of its build."""
        kit.packets = {"context": told({"path": "f", "mode": 0o644, "size": 3})}
        kit.data = {"context": lambda number: []}
        building = asyncio.create_task(kit.build())
        await asyncio.sleep(1)
        assert not building.done()
        building.cancel()

    using(api, wrong)
    using(api, silent)
    eventually(lambda: not left(api))
    assert api.get("/_ping")[0] == 200


def test_an_endless_listing_costs_no_memory_to_speak_of(api):
    """Each entry is worked through as it comes, and the client waits for that."""

    def memory():
        text = pathlib.Path(f"/proc/{api.server.pid}/status").read_text()
        return int(text.partition("VmRSS:")[2].split()[0]) // 1024

    async def work(kit):
        before = memory()
        kit.packets = {
            "context": [{"stat": {"path": f"p{n:07}", "mode": PIPE | 0o600}} for n in range(20_000)]
        }
        building = asyncio.create_task(kit.build())
        await asyncio.sleep(3)
        assert memory() - before < 80
        building.cancel()

    using(api, work)
    eventually(lambda: not left(api))
