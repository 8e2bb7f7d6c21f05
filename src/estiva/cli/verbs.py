"""Which verbs there are, and where each is: what `main` looks up, and help, completion and man pages list."""

from __future__ import annotations

from estiva.cmdline.parser import FLAG, TEXT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.cmdline.parser import Verb


GLOBALS = (
    ("", "root", TEXT, "DIR", "where images and containers are kept (default /var/lib/estiva)"),
    ("", "run-root", TEXT, "DIR", "where state is kept that a reboot may lose (default /run/estiva)"),
    ("", "storage-driver", TEXT, "NAME", "how layers are stored: erofs, erofs-lz4 or dir"),
    ("", "lang", TEXT, "LANGUAGE", "what people are told in: en or pt_BR (default: by LANG)"),
    ("D", "debug", FLAG, "", "show the traceback of an error"),
    ("v", "version", FLAG, "", "show the version"),
)


DRIVERS = ("erofs", "erofs-lz4", "dir")


# verb -> (module in estiva.cli, name of its Verb there)
VERBS = {
    "run": ("container.run", "RUN"),
    "exec": ("container.exec", "EXEC"),
    "ps": ("container.ps", "PS"),
    "create": ("container.run", "CREATE"),
    "start": ("container.lifecycle", "START"),
    "stop": ("container.lifecycle", "STOP"),
    "restart": ("container.lifecycle", "RESTART"),
    "kill": ("container.lifecycle", "KILL"),
    "pause": ("container.lifecycle", "PAUSE"),
    "unpause": ("container.lifecycle", "UNPAUSE"),
    "wait": ("container.lifecycle", "WAIT"),
    "attach": ("container.attach", "ATTACH"),
    "rm": ("container.lifecycle", "RM"),
    "rename": ("container.lifecycle", "RENAME"),
    "update": ("container.update", "UPDATE"),
    "stats": ("container.stats", "STATS"),
    "logs": ("container.logs", "LOGS"),
    "why": ("container.why", "WHY"),
    "anatomy": ("explain.anatomy", "ANATOMY"),
    "events": ("events", "EVENTS"),
    "inspect": ("inspect", "INSPECT"),
    "top": ("container.contents", "TOP"),
    "port": ("container.contents", "PORT"),
    "diff": ("container.contents", "DIFF"),
    "export": ("container.contents", "EXPORT"),
    "commit": ("container.contents", "COMMIT"),
    "cp": ("container.cp", "CP"),
    "mcp": ("container.mcp", "MCP"),
    "build": ("build.build", "BUILD"),
    "bake": ("build.bake", "BAKE"),
    "compose": ("serve.compose", "COMPOSE"),
    "images": ("image.images", "IMAGES"),
    "rmi": ("image.images", "RMI"),
    "tag": ("image.images", "TAG"),
    "history": ("image.images", "HISTORY"),
    "save": ("image.archives", "SAVE"),
    "load": ("image.archives", "LOAD"),
    "import": ("image.archives", "IMPORT"),
    "pull": ("image.remote", "PULL"),
    "push": ("image.remote", "PUSH"),
    "login": ("image.remote", "LOGIN"),
    "logout": ("image.remote", "LOGOUT"),
    "search": ("image.copy", "SEARCH"),
    "version": ("system", "VERSION"),
    "info": ("system", "INFO"),
    "doctor": ("container.doctor", "DOCTOR"),
    "lesson": ("explain.lesson", "LESSON"),
    "completion": ("completion", "COMPLETION"),
    "man": ("manual", "MAN"),
}


_CONTAINER = (
    "run", "exec", "create", "start", "stop", "restart", "kill", "pause", "unpause", "wait", "attach", "rm",
    "rename", "update", "stats", "logs", "why", "top", "port", "diff", "export", "commit",
    "cp",
)  # fmt: skip


GROUPS = {
    "container": {
        **{name: VERBS[name] for name in _CONTAINER},
        "ls": VERBS["ps"],
        "inspect": ("inspect", "INSPECT_CONTAINER"),
        "prune": ("system", "PRUNE_CONTAINERS"),
    },
    "image": {
        **{
            name: VERBS[name]
            for name in ("build", "history", "import", "load", "pull", "push", "save", "tag")
        },
        "ls": VERBS["images"],
        "rm": VERBS["rmi"],
        "inspect": ("inspect", "INSPECT_IMAGE"),
        "prune": ("image.images", "PRUNE"),
        "from-host": ("image.archives", "FROM_HOST"),
        "copy": ("image.copy", "COPY"),
        "referrers": ("image.copy", "REFERRERS"),
        "layers": ("image.layers", "LAYERS"),
        "diff": ("image.layers", "DIFF"),
    },
    "volume": {
        "ls": ("volume", "LS"),
        "create": ("volume", "CREATE"),
        "inspect": ("volume", "INSPECT"),
        "rm": ("volume", "RM"),
        "prune": ("volume", "PRUNE"),
        "export": ("volume", "EXPORT"),
        "import": ("volume", "IMPORT"),
    },
    "snapshot": {
        "ls": ("container.snapshot", "LS"),
        "create": ("container.snapshot", "CREATE"),
        "inspect": ("container.snapshot", "INSPECT"),
        "rm": ("container.snapshot", "RM"),
    },
    "healthcheck": {"run": ("container.health", "RUN")},
    "network": {
        "ls": ("network", "LS"),
        "create": ("network", "CREATE"),
        "inspect": ("network", "INSPECT"),
        "rm": ("network", "RM"),
        "prune": ("network", "PRUNE"),
        "connect": ("network", "CONNECT"),
        "disconnect": ("network", "DISCONNECT"),
        "reload": ("network", "RELOAD"),
    },
    "registry": {"serve": ("serve.registry", "SERVE"), "gc": ("serve.registry", "GC")},
    "api": {"serve": ("serve.api", "SERVE"), "units": ("serve.api", "UNIT")},
    "manifest": {
        "create": ("image.manifest", "CREATE"),
        "add": ("image.manifest", "ADD"),
        "annotate": ("image.manifest", "ANNOTATE"),
        "inspect": ("image.manifest", "INSPECT"),
        "push": ("image.manifest", "PUSH"),
        "remove": ("image.manifest", "REMOVE"),
        "rm": ("image.manifest", "RM"),
        "exists": ("image.manifest", "EXISTS"),
        "ls": ("image.manifest", "LS"),
    },
    "builder": {
        "build": VERBS["build"],
        "du": ("build.builder", "DU"),
        "export": ("build.builder", "EXPORT"),
        "prune": ("build.builder", "PRUNE"),
        "rm": ("build.builder", "RM"),
    },
    "system": {
        "df": ("system", "DF"),
        "prune": ("system", "PRUNE"),
        "check": ("system", "CHECK"),
        "resume": ("resume", "RESUME"),
        "reset": ("reset", "RESET"),
        "info": ("system", "INFO"),
        "events": VERBS["events"],
    },
}


# Docker's groups of verbs about several machines
SWARM = ("config", "node", "secret", "service", "stack", "swarm")

# Docker's verbs that are known, and not there yet
LATER = frozenset(("buildx", "checkpoint", "context", "plugin", "trust"))


# Verbs that are over, or wait, before a garbage collection could pay: it costs a cold start 0.8 ms.
BRIEF = ("container.run", "container.exec", "container.ps", "container.lifecycle", "inspect")


ALIASES = {"list": "ls", "ps": "ls", "remove": "rm", "delete": "rm", "images": "ls"}


def load(entry: tuple[str, str]) -> Verb:
    """The Verb that a table's entry names."""
    module = __import__(f"estiva.cli.{entry[0]}", fromlist=[entry[1]])
    verb: Verb = getattr(module, entry[1])
    return verb
