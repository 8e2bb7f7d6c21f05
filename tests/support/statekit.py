"""What tests of errors share: the form of an error, and all that there is, to compare before and after."""

import os
import re
import sqlite3

from enginekit import eventually

TABLES = {
    "names": "name, image",
    "images": "id",
    "containers": "id, name, status",
    "volumes": "name",
    "container_volumes": "container, volume",
    "leases": "address, container",
    "layers": "diff_id",
    "blobs": "digest",
    "build_cache": "key",
}


def state(box):
    """Every row and every folder of a host (enginekit.Host), quicker than the verbs tell it."""
    found = {}
    database = sqlite3.connect(f"file:{box.folder}/root/estiva.db?mode=ro", uri=True)
    for table, columns in TABLES.items():
        found[table] = sorted(database.execute(f"SELECT {columns} FROM {table}"))
    database.close()
    for name in ("containers", "volumes", "layers", "ingest", "blobs/sha256"):
        found["folder " + name] = sorted(os.listdir(f"{box.folder}/root/{name}"))
    for name in ("containers", "names"):
        here = f"{box.folder}/run/{name}"  # from the first verb on
        found["run " + name] = sorted(os.listdir(here)) if os.path.isdir(here) else []
    found["here"] = sorted(os.listdir(box.folder))
    found["cgroups"] = sorted(box.cgroups())
    return found


def settled(box):
    """`state`, once the files and cgroups of every --rm container are gone, which is a moment after its end."""
    found = {}

    def quiet():
        found.update(state(box))
        there = {row[0] for row in found["containers"]}
        left = {*found["folder containers"], *found["run containers"]}
        left.update(name for name in map(os.path.basename, found["cgroups"]) if len(name) == 64)
        return left <= there

    eventually(quiet)
    return found


def one_line(stderr):
    """The message, after checks of its form: one line, and what to do about it perhaps on a second one. Of a
    Dockerfile's between them its lines, numbered."""
    lines = stderr.splitlines()
    assert all(line.isprintable() and len(line) < 1500 for line in lines), stderr
    lines = [line for line in lines if not re.match(r" +(\d+|\.\.\.)? \|", line) or line is lines[0]]
    assert 1 <= len(lines) <= 2 and lines[0].startswith("estiva: "), stderr
    assert len(lines) == 1 or lines[1].startswith("hint: "), stderr
    message = lines[0].removeprefix("estiva: ")
    assert all(line.isprintable() and len(line) < 1500 for line in lines), stderr
    assert not message.endswith("."), message
    assert not re.search(r"Traceback|internal error|Errno|Error:", stderr), stderr
    assert not message[0].isupper() or message.startswith(("Dockerfile", "Containerfile")), message
    return message
