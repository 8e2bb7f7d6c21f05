#!/usr/bin/env python3
"""Draws the pictures of the documentation, as SVG, into docs/pictures.

    tools/pictures.py [--theme light|dark] [--to FOLDER]

The charts are drawn from benchmarks/results/*.json, which the benchmarks write (--json); the house and the
life of a run from what is written below. A picture serves light and dark pages, by prefers-color-scheme;
--theme draws it for one of them. tests/unit/house/test_pictures.py holds that the committed pictures are this
script's, and that the house is the one that tests/unit/house/test_imports.py guards.
"""

import argparse
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from drawing import WIDTH, Picture, width, wrapped  # noqa: E402

CHECKOUT = pathlib.Path(__file__).resolve().parents[1]
PICTURES = CHECKOUT / "docs/pictures"
RESULTS = CHECKOUT / "benchmarks/results"

# -- charts
# ------------------------------------------------------------------------------------------------------

LABEL, VALUE = 104, 112  # room for who it is, and for the number behind the bar
BAR, STEP = 15, 21

# The picture of the README: what people do with engines, beside those that do all of it
SPEED = (
    ("run", "run --rm --network none, cold process", "run in a new container, without a network"),
    ("run", "run --rm --network bridge, cold process", "the same on the bridge network"),
    ("run", "exec C /bin/true", "exec in a running container"),
    ("transfer", "pull: one layer of 200 MB, 10,000 files", "pull one layer of 200 MB in 10,000 files"),
    ("transfer", "pull to first instruction (run of an absent image, 12 layers)", "pull 12 layers and run"),
    ("transfer", "push: one layer of 200 MB, 10,000 files", "push one layer of 200 MB in 10,000 files"),
)
CHARTS = {
    "starts": ("run", "Starts of containers"),
    "transfers": ("transfer", "Pull and push"),
    "registry": ("registry", "The registry server"),
}


def shown(value, unit):
    if unit == "ms" and value >= 1000:
        return f"{value / 1000:.1f} s"
    return f"{value:.1f} {unit}" if value < 100 else f"{value:,.0f} {unit}"


def cell(picture, x, y, room, title, row):
    """The bars of a row, each with its number and how many times ours it is; where the cell ends."""
    values = dict(row["values"])
    if "limit" in row:
        values["aim, at most"] = row["limit"]
    for line in wrapped(title, room, 13.5):
        y += 18
        picture.text(x, y, line, "ink bold")
    y += 9
    most = max(values.values())
    ours = values["estiva"]
    for who, value in values.items():
        mine = who == "estiva"
        picture.text(x + LABEL - 8, y + 12, who, "strong bold" if mine else "soft", "end")
        length = max(2.0, (room - LABEL - VALUE) * value / most)
        picture.box(x + LABEL, y, length, BAR, "ours" if mine else "theirs", 3)
        told = shown(value, row["unit"])
        picture.text(x + LABEL + length + 7, y + 12, told, "ink bold" if mine else "ink")
        if not mine and "limit" not in row:
            picture.text(x + LABEL + length + 13 + width(told), y + 12, f"{value / ours:.1f} ×", "soft")
        y += STEP
    return y


def numbers(row):
    return ", ".join(f"{who} {shown(value, row['unit'])}" for who, value in row["values"].items())


def chart(title, rows, source, theme):
    """Rows in two columns. `rows`: [(title, row)]; `source`: what a benchmark wrote, for the colophon."""
    told = "; ".join(f"{name}: {numbers(row)}" for name, row in rows)
    picture = Picture(title, told, theme)
    picture.text(24, 36, title, "ink title")
    faster = "less" if not any(row.get("more") for _, row in rows) else "more"
    picture.text(WIDTH - 24, 36, f"{faster} is better; ×: how many times Estiva's", "soft", "end")
    room, y = (WIDTH - 3 * 24) / 2, 44
    for index in range(0, len(rows), 2):
        pair = enumerate(rows[index : index + 2])
        y = max(cell(picture, 24 + (room + 24) * side, y, room, *row) for side, row in pair) + 12
    for line in wrapped(colophon(source, rows), WIDTH - 48, 11.5):
        y += 15
        picture.text(24, y, line, "soft small")
    return picture.svg(y + 18)


def colophon(first, rows):
    machine = first["machine"]
    peers = {name for _, row in rows for name in row["values"]}
    versions = [
        f"{name} {version.partition('+')[0].partition('~')[0]}"
        for name, version in first["versions"].items()
        if name in peers
    ]
    system = machine["system"].replace("GNU/Linux ", "")
    where = [first["date"], system, f"Linux {machine['kernel']}", f"{machine['cpus']} cpus"]
    where += [f"cgroup {machine['cgroups']}"]
    parts = [*where, f"Python {machine['python']}", *versions, "medians"]
    return " · ".join(part.replace(" ", "\N{NO-BREAK SPACE}") for part in parts)


def charts(theme):
    read = {path.stem: json.loads(path.read_text()) for path in RESULTS.glob("*.json")}
    rows = {name: {row["name"]: row for row in source["rows"]} for name, source in read.items()}
    speed = [(title, rows[source][name]) for source, name, title in SPEED]
    drawn = {"speed": chart("Estiva beside podman and docker", speed, read["run"], theme)}
    for name, (source, title) in CHARTS.items():
        drawn[name] = chart(title, [(row["name"], row) for row in read[source]["rows"]], read[source], theme)
    return drawn


# -- the house
# ------------------------------------------------------------------------------------------------------

# folder -> (x, y, width, height, what it is, its rooms)
FLOORS = {
    "sdk": (60, 120, 190, 84, "for Python programs", ""),
    "cli": (270, 120, 310, 84, "the command line: words and terminals", "container image options format"),
    "view": (60, 246, 340, 60, "what a container is made of, as values and words", ""),
    "api": (430, 246, 140, 60, "the Docker Engine API", ""),
    "engine": (60, 334, 520, 84, "the library: returns values, knows no terminal and no exit",
               "containers launch mounts spec monitor state images"),
    "ocicli": (610, 334, 190, 84, "the command line of runc", ""),
    "registry": (60, 456, 180, 92, "client and server", "http transfer server"),
    "network": (255, 456, 140, 92, "bridge, ports, leases", ""),
    "builder": (410, 456, 236, 92, "a Dockerfile becomes an image", "frontend solver steps cache files"),
    "cmdline": (690, 456, 110, 92, "option parser", ""),
    "store": (60, 586, 375, 84, "images and layers by digest; the database", "layers tar archive upkeep"),
    "runtime": (455, 586, 345, 100, "one bundle becomes one process",
                "lifecycle bundle launch rootfs process security cgroup"),
    "oci": (250, 728, 380, 56, "pure data: references, digests, configs", ""),
    "linux": (60, 826, 740, 60, "the kernel boundary: a function for each system call, by ctypes", ""),
}  # fmt: skip
BOOT = "boot"
# user -> target, and where the arrow runs: x at the start, x at the end
ARROWS = (
    ("sdk", "view", 155, 155),
    ("cli", "view", 340, 340),
    ("cli", "engine", 415, 415),
    ("cli", "api", 500, 500),
    ("api", "engine", 500, 500),
    ("view", "engine", 230, 230),
    ("cli", "ocicli", 550, 650),
    ("engine", "registry", 150, 150),
    ("engine", "network", 325, 325),
    ("engine", "builder", 490, 490),
    ("ocicli", "cmdline", 745, 745),
    ("ocicli", "runtime", 660, 660),
    ("registry", "store", 150, 150),
    ("network", "store", 325, 325),
    ("builder", "store", 424, 424),
    ("builder", "runtime", 560, 560),
    ("store", "oci", 340, 340),
    ("runtime", "oci", 540, 540),
    ("store", "linux", 155, 155),
    ("runtime", "linux", 715, 715),
)
BASE = "errors speech catalog files waiting paths programs fastjson timestamps version atfork held settings"


def house(theme):
    told = "Folders as the rooms of a house, each standing on those that it may import: " + ", ".join(
        f"{user} on {target}" for user, target, *_ in ARROWS
    )
    picture = Picture("The house: who may import whom", told, theme)
    picture.shape("M 24 100 L 430 18 L 836 100 Z", "own edge")
    picture.text(430, 66, BOOT, "ink mono bold", "middle")
    picture.text(430, 86, "how a cold process starts, installed or from a checkout", "soft small", "middle")
    picture.shape("M 40 100 L 40 906 M 820 100 L 820 906", "edge")
    for name, (x, y, wide, high, what, rooms) in FLOORS.items():
        picture.box(x, y, wide, high, "own edge" if name == "engine" else "room edge")
        picture.text(x + wide / 2, y + 24, name, "ink mono bold", "middle")
        y += 43
        for line in wrapped(what, wide - 16, 11.5):
            picture.text(x + wide / 2, y, line, "soft small", "middle")
            y += 15
        for line in wrapped(rooms, wide - 16, 13):
            picture.text(x + wide / 2, y + 4, line, "strong mono small", "middle")
            y += 15
    for user, target, start, end in ARROWS:
        top, bottom = FLOORS[user][1] + FLOORS[user][3], FLOORS[target][1]
        picture.arrow((start, top + 2), (end, bottom - 2))
    picture.arrow((425, 100), (425, 118))
    picture.box(24, 906, 812, 56, "room edge dashed")
    for number, line in enumerate(wrapped(BASE, 640, 13)):
        picture.text(44, 930 + 18 * number, line, "ink mono small")
    picture.text(816, 930, "used by all", "soft small", "end")
    return picture.svg(982)


# -- the life of a run
# --------------------------------------------------------------------------------------------------------

COMMAND, MONITOR, INIT, KERNEL = 118, 326, 534, 742  # the middle of each lane
LANES = ((COMMAND, "command line"), (MONITOR, "monitor"), (INIT, "init"), (KERNEL, "kernel"))
LANE = 192
STEPS = (
    {COMMAND: "finds the verb, and forks at once: both load their modules at the same time"},
    (COMMAND, MONITOR, "fork"),
    {
        COMMAND: "reads the words; finds the image; judges every option; claims lock, name, address and row",
        MONITOR: "loads what it will need, waits for the plan",
    },
    (COMMAND, KERNEL, "mounts the layers that aren't yet: read-only, shared by all containers"),
    (COMMAND, MONITOR, "plan, lock, streams"),
    {
        COMMAND: "passes on signals and the terminal's size",
        MONITOR: "makes the cgroup with its limits; takes the compiled seccomp filter",
    },
    (MONITOR, INIT, "clone3: all namespaces"),
    {
        MONITOR: "plugs in the network: veth pair, address, published ports",
        INIT: "drops the host's fds, enters the cgroup, takes ids, limits and capabilities",
        KERNEL: "overlay, /proc, /dev, masks, pivot_root: in the namespaces of init alone",
    },
    (INIT, MONITOR, "READY"),
    (MONITOR, INIT, "GO: the state is written"),
    {INIT: "finds the command, installs the filter last"},
    (INIT, KERNEL, "execve"),
    {
        MONITOR: "copies streams, writes the log; sleeps as a shell of 0.3 MB when all is quiet",
        INIT: "is the container's process",
    },
    (KERNEL, MONITOR, "the end of init, by its pidfd; its mounts and namespaces are gone"),
    {MONITOR: "kills what is left, removes cgroup and network, writes the row"},
    (MONITOR, COMMAND, "exit status"),
    {COMMAND: "ends with that status"},
)


def life(theme):
    told = "From top to bottom. " + " ".join(
        f"{dict(LANES)[step[0]]} to {dict(LANES)[step[1]]}: {step[2]}."
        if isinstance(step, tuple)
        else " ".join(f"{dict(LANES)[lane]}: {words}." for lane, words in step.items())
        for step in STEPS
    )
    picture = Picture("The life of a run", told, theme)
    behind, picture.parts = picture.parts, []
    y = 80
    for step in STEPS:
        if isinstance(step, tuple):
            y = passed(picture, y, *step)
        else:
            y = max(done(picture, y, lane, words) for lane, words in step.items()) + 12
    front, picture.parts = picture.parts, behind
    for lane, name in LANES:
        picture.shape(f"M {lane} 58 L {lane} {y - 6:g}", "edge dashed")
        picture.box(lane - LANE / 2, 24, LANE, 34, "own edge")
        picture.text(lane, 46, name, "ink bold", "middle")
    picture.parts += front
    return picture.svg(y + 10)


def passed(picture, y, start, end, words):
    """An arrow from lane to lane, and below it the next step's y."""
    away = 4 if end > start else -4
    left, right = min(start, end) + LANE / 2, max(start, end) - LANE / 2
    middle = (left + right) / 2 if right - left > 40 else (start + end) / 2
    picture.box(middle - width(words, 11.5) / 2 - 4, y - 4, width(words, 11.5) + 8, 15, "page", 0)
    picture.text(middle, y + 8, words, "strong small", "middle")
    picture.arrow((start + away, y + 17), (end - away, y + 17))
    return y + 32


def done(picture, y, lane, words):
    """A box with what is done in a lane; its lower end."""
    lines = wrapped(words, LANE - 20, 12)
    height = 14 + 16 * len(lines)
    picture.box(lane - LANE / 2, y, LANE, height)
    for number, line in enumerate(lines):
        picture.text(lane, y + 19 + 16 * number, line, "ink note", "middle")
    return y + height


def pictures(theme=""):
    """Name -> SVG."""
    return {"house": house(theme), "life": life(theme), **charts(theme)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--theme", choices=["light", "dark"], default="", help="for one kind of page only")
    parser.add_argument("--to", type=pathlib.Path, default=PICTURES, metavar="FOLDER")
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    for name, text in pictures(options.theme).items():
        (options.to / f"{name}.svg").write_text(text)


if __name__ == "__main__":
    main()
