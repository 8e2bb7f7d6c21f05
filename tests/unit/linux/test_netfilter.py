"""A map that changes while the kernel tells of it, by a kernel of the test's own."""

from __future__ import annotations

import struct

import pytest

from estiva.linux.net import netfilter
from estiva.linux.net.netlink import TRIES, attribute, nested


def pair(number: int) -> tuple[bytes, bytes]:
    return (struct.pack("!I", number),) * 2


def message(generation: int, numbers: list[int]) -> bytes:
    elements = [
        nested(
            netfilter.NFTA_LIST_ELEM,
            nested(netfilter.NFTA_SET_ELEM_KEY, attribute(netfilter.NFTA_DATA_VALUE, key)),
            nested(netfilter.NFTA_SET_ELEM_DATA, attribute(netfilter.NFTA_DATA_VALUE, data)),
        )
        for key, data in map(pair, numbers)
    ]
    listed = nested(netfilter.NFTA_SET_ELEM_LIST_ELEMENTS, *elements)
    return struct.pack("!BBH", 2, 0, generation) + listed


class Kernel:
    """Answers a dump with the next of `dumps`, and is at `generation` when it is asked for that."""

    def __init__(self, dumps: list[list[bytes]], generation: int) -> None:
        self.dumps, self.generation, self.asked = dumps, generation, 0

    def dump(self, request: object) -> list[bytes]:
        self.asked += 1
        return self.dumps.pop(0) if len(self.dumps) > 1 else self.dumps[0]

    def exchange(self, request: object) -> list[bytes]:
        return [struct.pack("!BBH", 0, 0, self.generation)]


WHOLE = [message(8, [1, 2]), message(8, [3])]


@pytest.mark.parametrize(
    "torn",
    [
        [message(7, [1, 2]), message(8, [4])],  # changed between two messages
        [message(7, [1, 2]), message(7, [4])],  # or after the last had begun
        [message(8, [1, 2]), message(8, [1])],  # put in another order between two
    ],
    ids=["between", "after", "order"],
)
def test_an_answer_that_leaves_something_out_is_asked_for_again(torn: list[bytes]) -> None:
    kernel = Kernel([torn, WHOLE], 8)
    assert netfilter.elements(kernel, "t", "m") == [pair(1), pair(2), pair(3)]  # type: ignore[arg-type]
    assert kernel.asked == 2


def test_one_message_is_whole() -> None:
    """It is one walk: what grows meanwhile is told twice, and nothing is left out."""
    kernel = Kernel([[message(7, [1, 2, 1])]], 8)
    assert netfilter.elements(kernel, "t", "m") == [pair(1), pair(2)]  # type: ignore[arg-type]
    assert kernel.asked == 1


def test_what_never_stands_still_is_told_all_the_same() -> None:
    """Each answer leaves out another one."""
    dumps = [[message(n, [n % 3]), message(n + 1, [(n + 1) % 3])] for n in range(TRIES)]
    kernel = Kernel(dumps, 99)
    assert set(netfilter.elements(kernel, "t", "m")) == {pair(0), pair(1), pair(2)}  # type: ignore[arg-type]
    assert kernel.asked == TRIES
