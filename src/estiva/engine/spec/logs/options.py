"""Log drivers and their options (--log-driver, --log-opt), judged once and made into what a monitor needs.

    json-file   Docker's form, in files that are rotated by size and count (engine/state/logs/logfile.py)
    local       the same files, compressed once they are rotated
    journald    to systemd's journal, by its native protocol
    syslog      RFC 3164, RFC 5424, or as syslog(3) has it: over UDP, TCP, or a Unix socket
    none        nothing is kept

What goes to journald or syslog is kept in files too, so that `logs` can show it, unless cache-disabled=true.
"""

from __future__ import annotations

from estiva import fastjson
from estiva.errors import InvalidInput, Unavailable, Unsupported, brief
from estiva.oci import units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.config_types import LogConfig
    from estiva.engine.state.types import LogOptions, Outlet, Record

ATTRIBUTES = frozenset(("labels", "labels-regex", "env", "env-regex", "tag"))
FILES = frozenset(("max-size", "max-file", "compress"))
MODES = frozenset(("mode", "max-buffer-size"))
CACHE = frozenset(("cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"))
OPTIONS = {
    "json-file": ATTRIBUTES | FILES | MODES,
    "local": FILES | MODES,
    "journald": ATTRIBUTES | MODES | CACHE,
    "syslog": ATTRIBUTES | MODES | CACHE | {"syslog-address", "syslog-facility", "syslog-format"},
    "none": frozenset(),
}
FOREIGN = ("awslogs", "etwlogs", "fluentd", "gcplogs", "gelf", "logentries", "splunk")
LOCAL_SIZE, LOCAL_KEEP = 20 << 20, 5
BUFFER = 1 << 20  # bytes that wait for a peer
_NAMES = "kern user mail daemon auth syslog lpr news uucp cron authpriv ftp"
FACILITIES = {name: number for number, name in enumerate(_NAMES.split())}
FACILITIES |= {f"local{number}": 16 + number for number in range(8)}
FORMATS = ("", "rfc3164", "rfc5424", "rfc5424micro")
SYSLOG_PORT = 514
TRUE, FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")


def check(settings: LogConfig) -> None:
    """Raises InvalidInput, Unsupported."""
    driver = settings.get("Type") or "json-file"
    options = settings.get("Config") or {}
    if driver in FOREIGN:
        raise Unsupported(f"the log driver {driver} is not supported", hint=f"one of {', '.join(OPTIONS)}")
    if driver not in OPTIONS:
        raise InvalidInput(
            f"logger: no log driver named '{brief(driver, 60)}' is registered",
            hint=f"one of {', '.join(OPTIONS)}",
        )
    if driver == "none" and options:
        raise InvalidInput("invalid logging opts for driver none")
    for name in options:
        if name.startswith("syslog-tls-") and driver == "syslog":
            raise Unsupported(f"the log option {name} is not supported: syslog over TLS is not there")
        if name not in OPTIONS[driver]:
            raise InvalidInput(f"unknown log opt '{brief(name, 60)}' for {driver} log driver")
    files(driver, options)
    buffer(options)
    flag(options, "cache-disabled")
    expressions(options)
    tag(options.get("tag", ""), {})
    if driver == "syslog":
        facility(options)
        address(options.get("syslog-address", ""))
        if options.get("syslog-format", "") not in FORMATS:
            raise InvalidInput(
                f"invalid syslog format '{brief(options['syslog-format'], 60)}'",
                hint="rfc3164, rfc5424 or rfc5424micro",
            )


def bad(name: str, value: str, hint: str) -> InvalidInput:
    """What to say of an option's value."""
    return InvalidInput(f"invalid value for the log option {name}: '{brief(value, 60)}'", hint=hint)


def flag(options: dict[str, str], name: str, default: bool = False) -> bool:
    """A truth as Go reads it. Raises InvalidInput."""
    value = options.get(name, "")
    if value and value not in (*TRUE, *FALSE):
        raise bad(name, value, "true, false")
    return value in TRUE if value else default


def size(options: dict[str, str], name: str, default: int, unit: int = 1024) -> int:
    """Bytes; 0 for what has no limit. As with Docker a file's k is 1000, a buffer's 1024.

    Raises InvalidInput.
    """
    value = options.get(name, "")
    if not value:
        return default
    if value == "-1":
        return 0
    try:
        found = units.size(value, unit)
    except ValueError:
        found = 0
    if not found:
        raise bad(name, value, "10m, 1g, -1")
    return found


def files(driver: str, options: dict[str, str]) -> LogOptions:
    """How many files, how long, compressed or not. Raises InvalidInput."""
    cached = "cache-" if driver in ("journald", "syslog") else ""
    names = {name: cached + name for name in FILES}
    if not cached and driver != "local" and FILES.isdisjoint(options):
        return {}
    keep = options.get(names["max-file"], "")
    if keep and not (keep.isascii() and keep.isdigit() and 0 < int(keep[:9]) <= 10_000):
        raise bad(names["max-file"], keep, "1 or more")
    result: LogOptions = {}
    json = driver == "json-file"
    given = bool(options.get(names["max-size"]))
    result["size"] = size(options, names["max-size"], LOCAL_SIZE, 1000)
    result["keep"] = int(keep) if keep else 1 if json and given else 3 if json else LOCAL_KEEP
    result["compress"] = flag(options, names["compress"], not json)
    asked = bool(options.get(names["compress"])) and result["compress"]
    if asked and (result["keep"] < 2 or not result["size"]):
        raise InvalidInput("compress cannot be true when max-file is less than 2 or when max-size is not set")
    return result


def buffer(options: dict[str, str]) -> tuple[bool, int]:
    """(whether the container never waits, bytes of the buffer). Raises InvalidInput."""
    mode = options.get("mode") or "blocking"
    if mode not in ("blocking", "non-blocking"):
        raise InvalidInput(
            f"logger: logging mode not supported: {brief(mode, 60)}", hint="blocking, non-blocking"
        )
    if options.get("max-buffer-size") and mode == "blocking":
        raise InvalidInput("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
    return mode == "non-blocking", size(options, "max-buffer-size", BUFFER) or BUFFER


def facility(options: dict[str, str]) -> int:
    """syslog(3). Raises InvalidInput."""
    word = options.get("syslog-facility") or "daemon"
    if word.isascii() and word.isdigit() and len(word) < 3 and int(word) < 24:
        return int(word)
    if word not in FACILITIES:
        raise InvalidInput(f"invalid syslog facility '{brief(word, 60)}'", hint=", ".join(FACILITIES))
    return FACILITIES[word]


def address(text: str) -> tuple[str, str, int]:
    """(udp, tcp, unix or unixgram; a host or path; a port): of ("unix", "", 0) the machine's own. Raises
    InvalidInput, Unsupported."""
    if not text:
        return "unix", "", 0
    kind, separator, rest = text.partition("://")
    if kind == "tcp+tls":
        raise Unsupported("syslog-address=tcp+tls:// is not supported: syslog over TLS is not there")
    wrong = InvalidInput(
        f"invalid syslog-address '{brief(text, 100)}'",
        hint="udp://HOST[:PORT], tcp://HOST[:PORT], unix://PATH or unixgram://PATH",
    )
    if not separator or kind not in ("udp", "tcp", "unix", "unixgram"):
        raise wrong
    if kind.startswith("unix"):
        if not rest.startswith("/") or "\0" in rest or len(rest.encode()) > 107:
            raise wrong
        return kind, rest, 0
    host, colon, port = rest.rpartition(":")
    if not colon or rest.endswith("]"):
        host, port = rest, str(SYSLOG_PORT)
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else 0
    if not host or "/" in host or "[" in host or not 0 < number < 1 << 16:
        raise wrong
    return kind, host, number


def expressions(options: dict[str, str]) -> dict[str, object]:
    """The judged expressions of labels-regex and env-regex. Raises InvalidInput."""
    found: dict[str, object] = {}
    for name in ("labels-regex", "env-regex"):
        if options.get(name):
            from estiva.engine.state.expression import any_of

            try:
                found[name] = any_of([options[name]])
            except InvalidInput as error:
                raise bad(name, options[name], error.hint) from None
    return found


def tag(template: str, values: dict[str, str]) -> str:
    """A tag's text: {{.ID}}, {{.FullID}}, {{.Name}}, {{.ImageID}}, {{.ImageFullID}}, {{.ImageName}} and
    {{.DaemonName}}. Raises InvalidInput; without values nothing is made."""
    known = ("ID", "FullID", "Name", "ImageID", "ImageFullID", "ImageName", "DaemonName")
    out, rest = "", template
    while rest:
        before, opened, rest = rest.partition("{{")
        out += before
        if opened:
            field, closed, rest = rest.partition("}}")
            field = field.strip()
            if not closed or field[:1] != "." or field[1:] not in known:
                raise InvalidInput(
                    f"invalid log option tag: '{brief(template, 100)}'",
                    hint=", ".join(f"{{{{.{name}}}}}" for name in known),
                )
            out += values.get(field[1:], "")
    return out


# --- what a monitor needs ---------------------------------------------------------------------------------


def plan(record: Record) -> tuple[bool, LogOptions, Outlet | None]:
    """(whether there are files, how they are kept, where else it goes) of a container that starts. Raises
    Unavailable for a host that has no address."""
    settings = record["HostConfig"].get("LogConfig") or {}
    driver, options = settings.get("Type") or "json-file", settings.get("Config") or {}
    if driver == "none":
        return False, {}, None
    kept = files(driver, options)
    if driver not in ("journald", "syslog"):
        attrs = attributes(record, options)
        if options.get("tag"):
            attrs["tag"] = tag(options["tag"], tag_values(record))
        if attrs:
            kept["attrs"] = f'"attrs":{fastjson.dumps(attrs)},'
        return True, kept, None
    drops, size = buffer(options)
    outlet: Outlet = {
        "driver": "syslog" if driver == "syslog" else "journald",
        "tag": tag(options.get("tag") or "{{.ID}}", tag_values(record)),
        "drops": drops,
        "size": size,
        "fields": {},
    }
    if driver == "syslog":
        outlet["facility"] = facility(options)
        outlet["format"] = options.get("syslog-format", "")
        outlet["address"] = resolve(*address(options.get("syslog-address", "")))
    else:
        values = tag_values(record)
        outlet["fields"] = {
            "CONTAINER_ID": values["ID"],
            "CONTAINER_ID_FULL": values["FullID"],
            "CONTAINER_NAME": values["Name"],
            "CONTAINER_TAG": outlet["tag"],
            "SYSLOG_IDENTIFIER": outlet["tag"],
            "IMAGE_NAME": values["ImageName"],
            **{field_name(key): value for key, value in attributes(record, options).items()},
        }
    return not flag(options, "cache-disabled"), kept, outlet


def resolve(kind: str, host: str, port: int) -> tuple[str, str, int]:
    """With a number in the place of the host's name: the monitor must not wait for a name server."""
    if kind.startswith("unix"):
        return kind, host, port
    from _socket import SOCK_DGRAM, getaddrinfo

    try:
        found = getaddrinfo(host, port, 0, SOCK_DGRAM)
    except (OSError, UnicodeError):
        raise Unavailable(f"failed to initialize logging driver: {brief(host, 100)} has no address") from None
    return kind, str(found[0][4][0]), port


def field_name(key: str) -> str:
    """A name that the journal takes: systemd.journal-fields(7)."""
    name = "".join(char if char.isascii() and char.isalnum() else "_" for char in key.upper())
    return name.lstrip("_")[:64] or "X"


def tag_values(record: Record) -> dict[str, str]:
    """What a tag's template may name."""
    image = record["Image"].partition(":")[2] or record["Image"]
    return {
        "ID": record["Id"][:12],
        "FullID": record["Id"],
        "Name": record["Name"].removeprefix("/"),
        "ImageID": image[:12],
        "ImageFullID": record["Image"],
        "ImageName": record["Config"].get("Image") or "",
        "DaemonName": "estiva",
    }


def attributes(record: Record, options: dict[str, str]) -> dict[str, str]:
    """The container's labels and variables that the options name."""
    labels = record["Config"].get("Labels") or {}
    pairs = (word.partition("=") for word in record["Config"].get("Env") or ())
    variables = {key: value for key, _, value in pairs}
    matching = expressions(options)
    found: dict[str, str] = {}
    for name, values in (("labels", labels), ("env", variables)):
        for key in (options.get(name) or "").split(","):
            if key in values:
                found[key] = values[key]
        fits = matching.get(name + "-regex")
        if callable(fits):
            found.update((key, value) for key, value in values.items() if fits(key))
    return found
