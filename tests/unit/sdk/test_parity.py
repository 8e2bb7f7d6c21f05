"""The Python API has all that the command line has, and asyncio all that the plain API has."""

import inspect

import pytest

import estiva
from estiva import aio
from estiva.cli.container.exec import EXEC
from estiva.cli.verbs import GROUPS, VERBS
from estiva.sdk.aio import engine as aio_engine
from estiva.sdk.aio import files as aio_files
from estiva.sdk.aio import images as aio_images
from estiva.sdk.aio import python as aio_python
from estiva.sdk.aio import snapshots as aio_snapshots
from estiva.sdk.collections import containers, images, manifests, networks, registry, system, volumes
from estiva.sdk.objects import attached, container, files, popen
from estiva.sdk.sandbox import pool, python, snapshots

BOX, ENGINE = "Container", "Engine"
PLACES = {  # a verb -> where it is: a path from Engine, or Container, or estiva
    **{name: f"Container.{name}" for name in (
        "exec", "start", "stop", "restart", "kill", "pause", "unpause", "wait", "attach", "rename", "update",
        "stats", "logs", "why", "top", "diff", "export", "commit", "doctor", "inspect")},
    "run": "run", "create": "containers.create", "ps": "containers.list", "rm": "Container.remove",
    "port": "Container.ports", "cp": "Container.put", "events": "events", "build": "build", "images": "images.list",
    "rmi": "images.remove", "tag": "images.tag", "history": "images.history", "save": "images.save",
    "load": "images.load", "import": "images.import_tar", "pull": "pull", "push": "push", "login": "registry.login",
    "logout": "registry.logout", "search": "registry.search", "version": "system.version", "info": "system.info",
    "container ls": "containers.list", "container inspect": "Container.inspect", "container prune": "containers.prune",
    "image ls": "images.list", "image rm": "images.remove", "image inspect": "Image.attrs", "image prune": "images.prune",
    "image from-host": "images.from_host", "image copy": "images.copy", "image referrers": "registry.referrers",
    "image layers": "images.layers", "image diff": "images.diff",
    "volume ls": "volumes.list", "volume create": "volumes.create", "volume inspect": "volumes.get",
    "volume rm": "Volume.remove", "volume prune": "volumes.prune", "volume export": "Volume.export",
    "volume import": "Volume.load",
    "network ls": "networks.list", "network create": "networks.create", "network inspect": "networks.get",
    "network rm": "Network.remove", "network prune": "networks.prune", "network connect": "Network.connect",
    "network disconnect": "Network.disconnect", "network reload": "networks.reload",
    "manifest create": "images.manifests.create", "manifest add": "images.manifests.add",
    "manifest annotate": "images.manifests.annotate", "manifest inspect": "images.manifests.inspect",
    "manifest push": "images.manifests.push", "manifest remove": "images.manifests.take",
    "manifest rm": "images.manifests.remove", "manifest exists": "images.manifests.exists",
    "manifest ls": "images.manifests.list",
    "builder build": "build", "builder prune": "system.prune_build_cache",
    "builder du": "system.build_cache", "builder rm": "system.remove_cache_mounts", "builder export": "system.export_cache_mount",
    "system df": "system.df", "system prune": "system.prune", "system check": "system.check",
    "system resume": "system.resume", "system info": "system.info",
    "anatomy": "Container.anatomy", "snapshot create": "Container.snapshot", "snapshot ls": "snapshots",
    "snapshot inspect": "Snapshot.inspect", "snapshot rm": "Snapshot.remove",
}  # fmt: skip
REASONS = {
    "bake": "for files of the command line: `build` takes what a target of theirs says",
    "completion": "for shells",
    "man": "for people at a terminal",
    "lesson": "for people at a terminal",
    "mcp": "a server, to be run as a process of its own",
    "healthcheck run": "by a process with one thread; a container's own checks, `health` and wait(condition=) are here",
    "registry serve": "a server, to be run as a process of its own",
    "registry gc": "of that server",
    "api serve": "a server, to be run as a process of its own",
    "api units": "for systemd to run it",
    "compose": "another program, run against that server",
    "system reset": "takes all from everybody: for a person, who is asked",
}


def verbs():
    """All verbs, by their shortest name."""
    for name in VERBS:
        yield name
    for group, inside in GROUPS.items():
        for name, entry in inside.items():
            if entry not in VERBS.values():
                yield f"{group} {name}"


def found(path):
    """What stands at a place; raises AttributeError."""
    first, _, rest = path.partition(".")
    kinds = {
        "Container": estiva.Container,
        "Image": estiva.Image,
        "Volume": estiva.Volume,
        "Network": estiva.Network,
        "Snapshot": estiva.Snapshot,
    }
    collections = {
        "containers": containers.Containers, "images": images.Images, "volumes": volumes.Volumes,
        "networks": networks.Networks, "registry": registry.Registry, "system": system.System,
    }  # fmt: skip
    if not rest:
        return getattr(estiva, first, None) or getattr(estiva.Engine, first)
    if rest.startswith("manifests."):
        return getattr(manifests.Manifests, rest.partition(".")[2])
    return getattr({**kinds, **collections}[first], rest)


@pytest.mark.parametrize("verb", sorted({*verbs(), *PLACES, *REASONS}))
def test_each_verb_has_its_place_or_a_reason(verb):
    assert (verb in PLACES) != (verb in REASONS), "give it a place in the API, or a reason"
    group, _, name = verb.rpartition(" ")
    assert name in (GROUPS[group] if group else VERBS), "there is no such verb"
    if verb in PLACES:
        assert found(PLACES[verb]) is not None


def test_exec_has_all_of_the_command_line_s():
    flags = {row[1] for row in EXEC.options if row[1]}
    elsewhere = {
        "detach": "exec_detached",
        "interactive": "input",
        "tty": "popen",
        "detach-keys": "nobody types",
    }
    keywords = {name.replace("_", "-") for name in inspect.signature(estiva.Container.exec).parameters}
    assert flags - keywords <= set(elsewhere)


PAIRS = [
    (container.Container, aio.Container),
    (containers.Containers, aio_engine.Containers),
    (images.Images, aio_images.Images),
    (images.Image, aio.Image),
    (manifests.Manifests, aio_images.Manifests),
    (volumes.Volumes, aio_engine.Volumes),
    (volumes.Volume, aio.Volume),
    (networks.Networks, aio_engine.Networks),
    (networks.Network, aio.Network),
    (registry.Registry, aio_engine.Registry),
    (system.System, aio_engine.System),
    (files.Files, aio_files.Files),
    (estiva.Engine, aio.Engine),
    (popen.Popen, aio.Popen),
    (pool.Pool, aio.Pool),
    (python.Python, aio_python.Python),
    (snapshots.Snapshots, aio_snapshots.Snapshots),
    (snapshots.Snapshot, aio.Snapshot),
    (estiva, aio),
]
PLAIN_ONLY = {  # what asyncio does without
    "Container": {"attrs", "begun", "engine", "gone", "own", "reading", "measuring", "ways"},
    "Popen": {"poll", "abandon", "close", "started", "channel", "mine"},  # asyncio's Process has no poll
    "Pool": {
        "asked",
        "found",
        "new",
        "begin",
        "ask",
        "passed",
        "leave",
        "left",
        "put",
        "shut",
        "ended",
    },  # its steps, and who takes them
    "Python": {"drop", "running", "starting", "stopping", "closing"},
    "Engine": {"heap", "store", "db", "mended", "close_database"},
}


def names(thing):
    found = thing.__all__ if inspect.ismodule(thing) else dir(thing)
    return {name for name in found if not name.startswith("_") and name != "engine"}


@pytest.mark.parametrize(("plain", "other"), PAIRS, ids=[pair[0].__name__ for pair in PAIRS])
def test_asyncio_has_what_the_plain_api_has(plain, other):
    without = PLAIN_ONLY.get(plain.__name__, set())
    if plain is estiva:
        shown = {"BuildError", "CommandTimeout", "EstivaError", "Event", "Exit", "FileInfo", "Health", "LogLine", "Port",
                 "Progress", "PythonError", "PythonRun", "Result", "Stats", "StillRunning"}  # fmt: skip
        without = shown
    assert names(plain) - names(other) <= without
    for name in names(plain) & names(other):
        mine, theirs = getattr(plain, name), getattr(other, name)
        if inspect.isfunction(mine) and inspect.isfunction(theirs) and plain is not popen.Popen:
            wanted = {
                one
                for one in inspect.signature(mine).parameters
                if one not in ("text", "encoding", "errors", "bufsize")
            }
            assert wanted <= set(inspect.signature(theirs).parameters), name


def test_attach_has_popen_s_shape():
    assert names(popen.Popen) - names(attached.Attached) <= PLAIN_ONLY["Popen"] | {
        "stdin",
        "stdout",
        "stderr",
        "pid",
    }
