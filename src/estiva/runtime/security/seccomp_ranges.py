"""A compiled system-call filter made short: one comparison for a range of calls instead of one for each.

libseccomp compares with every number that a profile names: 1,300 instructions for the default profile, which
the kernel translates, compiles and tries out with every call of the machine (seccomp(2), the bitmap of calls
that are always allowed) each time that a container or an exec installs it. Most neighbours end alike, so a
binary search over the ranges is a fifth of that.

What a program decides is not touched: it is walked with every range of numbers at once, for each architecture
that it asks for, up to where it returns or looks at an argument. What comes from there on is kept as it is.
"""

from __future__ import annotations

from _struct import iter_unpack, pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    # (code, jt, jf, k): struct sock_filter
    Instruction = tuple[int, int, int, int]
    # lowest number, and where it leads: a value of BPF_RET, or minus the place of an instruction
    Range = tuple[int, int]

_LOAD, _AND, _RETURN, _JUMP = 0x20, 0x54, 0x06, 0x05
_STORE, _FETCH = 0x02, 0x60  # to and from scratch memory
_EQUAL, _GREATER, _AT_LEAST, _SET = 0x15, 0x25, 0x35, 0x45
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in struct seccomp_data
_LAST = 0xFFFFFFFF
_FAR = 255  # instructions that a comparison can jump over


class _Unknown(Exception):
    """The program does what is not expected of one that a compiler of filters made."""


def condense(program: bytes) -> bytes:
    """A program that decides as `program` does, shorter where that can be; else `program` itself."""
    code: list[Instruction] = list(iter_unpack("=HBBI", program))
    try:
        made = _assemble(code, _by_architecture(code))
    except (_Unknown, IndexError):
        return program
    short = b"".join([pack("=HBBI", *instruction) for instruction in made])
    return short if len(short) < len(program) else program


def _by_architecture(code: list[Instruction]) -> list[tuple[int, list[Range]]]:
    """The ranges for each architecture that the program compares with; last, for any other."""
    other = 0
    while any(instruction[3] == other for instruction in code):
        other += 1
    asked: list[int] = []
    last = _ranges(code, other, asked)
    found = []
    for architecture in asked:  # grows while it is walked
        found.append((architecture, _ranges(code, architecture, asked)))
    return [*found, (other, last)]


def _ranges(code: list[Instruction], architecture: int, asked: list[int]) -> list[Range]:
    """Where each number leads on `architecture`. Architectures compared with are added to `asked`."""
    found: list[Range] = []
    # (instruction, whether A is the number, lowest, highest); the lowest numbers are on top
    waiting = [(0, False, 0, _LAST)]
    while waiting:
        at, numbered, low, high = waiting.pop()
        kind, true, false, value = code[at]
        if kind == _RETURN:
            found.append((low, value))
        elif kind == _LOAD and value == _NUMBER:
            waiting.append((at + 1, True, low, high))
        elif kind == _LOAD and value == _ARCHITECTURE:
            waiting.append((at + 1, False, low, high))
        elif kind == _LOAD and at:
            found.append((low, -at))
        elif kind == _JUMP:
            waiting.append((at + 1 + value, numbered, low, high))
        elif not numbered and kind == _EQUAL:
            if value not in asked:
                asked.append(value)
            waiting.append((at + 1 + (true if architecture == value else false), False, low, high))
        elif numbered and kind in (_EQUAL, _GREATER, _AT_LEAST):
            first = value + 1 if kind == _GREATER else value  # of those that jump as `true` says
            last = value if kind == _EQUAL else _LAST
            for begin, end, jump in (
                (max(low, last + 1), high, false),
                (max(low, first), min(high, last), true),
                (low, min(high, first - 1), false),
            ):
                if begin <= end:
                    waiting.append((at + 1 + jump, True, begin, end))
        else:
            raise _Unknown
    return [r for index, r in enumerate(found) if not index or found[index - 1][1] != r[1]]


def _assemble(code: list[Instruction], ranges: list[tuple[int, list[Range]]]) -> list[Instruction]:
    """Compare the architecture, search the number, then what looks at arguments: that is shared by all."""
    rest = _reachable(code, {-target for _, found in ranges for _, target in found if target < 0})
    place = {at: index for index, at in enumerate(rest)}
    head: list[Instruction] = [(_LOAD, 0, 0, _ARCHITECTURE)]
    for index, (architecture, found) in enumerate(ranges):
        body = [(_LOAD, 0, 0, _NUMBER), *_search(found)]
        if index < len(ranges) - 1:
            head += [(_EQUAL, 1, 0, architecture), (_JUMP, 0, 0, len(body))]
        head += body
    for at, (kind, _, _, value) in enumerate(head):
        if kind == _JUMP and value < 0:
            head[at] = (_JUMP, 0, 0, len(head) + place[-value] - at - 1)
    for at, old in enumerate(rest):
        kind, true, false, value = code[old]
        if kind == _JUMP:
            value = place[old + 1 + value] - at - 1
        elif kind in (_EQUAL, _GREATER, _AT_LEAST, _SET):
            true, false = (place[old + 1 + jump] - at - 1 for jump in (true, false))
        head.append((kind, true, false, value))
    return head


def _search(ranges: list[Range]) -> list[Instruction]:
    """A binary search; a jump to an instruction of the old program is left as a negative one."""
    ends = list(dict.fromkeys([target for _, target in ranges]))
    if len(ranges) - 1 + len(ends) > _FAR:
        middle = len(ranges) // 2
        low, high = _search(ranges[:middle]), _search(ranges[middle:])
        return [(_AT_LEAST, 0, 1, ranges[middle][0]), (_JUMP, 0, 0, len(low)), *low, *high]
    made: list[Instruction] = []
    _compare(ranges, made, {target: len(ranges) - 1 + index for index, target in enumerate(ends)})
    return made + [(_RETURN, 0, 0, end) if end >= 0 else (_JUMP, 0, 0, end) for end in ends]


def _compare(ranges: list[Range], made: list[Instruction], ends: dict[int, int]) -> int:
    """Append the comparisons that tell `ranges` apart; where they begin. `ends`: where targets will be."""
    if len(ranges) == 1:
        return ends[ranges[0][1]]
    middle, at = len(ranges) // 2, len(made)
    made.append((_AT_LEAST, 0, 0, ranges[middle][0]))
    low, high = _compare(ranges[:middle], made, ends), _compare(ranges[middle:], made, ends)
    made[at] = (_AT_LEAST, high - at - 1, low - at - 1, ranges[middle][0])
    return at


def _reachable(code: list[Instruction], entries: set[int]) -> list[int]:
    """All instructions that `entries` lead to, in their order, so that no jump gets longer."""
    found = set(entries)
    for at in range(min(entries, default=len(code)), len(code)):
        if at in found:
            kind, true, false, value = code[at]
            if kind in (_EQUAL, _GREATER, _AT_LEAST, _SET):
                found |= {at + 1 + true, at + 1 + false}
            elif kind == _JUMP:
                found.add(at + 1 + value)
            elif kind in (_LOAD, _AND, _STORE, _FETCH):
                found.add(at + 1)
            elif kind != _RETURN:
                raise _Unknown
    return sorted(found)
