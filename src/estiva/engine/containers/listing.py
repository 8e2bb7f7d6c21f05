"""`ps`: the containers that fit, and what their rows say in words."""

from __future__ import annotations

import time

from estiva.engine.containers import ps_filters
from estiva.engine.state.lookup import load, settled
from estiva.errors import EstivaError, InvalidInput, Unsupported, brief
from estiva.network import networks
from estiva.oci.ages import ago, duration
from estiva.store import containers
from estiva.timestamps import ZERO, seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.engine.state.known import Known, Look
    from estiva.engine.state.types import Record, State
    from estiva.network.types import EndpointRecord
    from estiva.store.images import Image

FILTERS = (
    "id", "name", "label", "status", "ancestor", "before", "since", "exited", "volume", "network", "publish",
    "expose", "health", "is-task",
)  # fmt: skip
HEALTH = ("starting", "healthy", "unhealthy", "none")
STATUSES = ("created", "restarting", "running", "removing", "paused", "exited", "dead")


def listing(
    engine: Engine,
    *,
    all: bool = False,
    filters: dict[str, list[str]] | None = None,
    damaged: list[EstivaError] | None = None,
    known: Known | None = None,
) -> list[Record]:
    """The rows of `ps`, newest first. `filters`: see FILTERS. What is wrong with those that can't be read is
    added to `damaged`: it is no reason not to see the others. With `known` the rows are its: not to be
    changed.
    """
    check(filters or {})
    if filters and "ancestor" in filters:
        filters = {**filters, "ancestor": made_from(engine, filters["ancestor"])}
    named = None
    if filters and "name" in filters:
        from estiva.engine.state.expression import any_of

        named = any_of(filters["name"])
    rows = []
    look = known.begin() if known is not None else None
    belonging = known.belonging_of_each(engine) if known else networks.belonging_of_each(engine.db)
    every = containers.every(engine.db)
    within = None
    if filters and ("before" in filters or "since" in filters):
        within = ps_filters.between(engine, [row[0] for row in every], filters)
    for row in every:
        if within is not None and row[0] not in within:
            continue
        try:
            container_id, status, text = settled(engine, *row)
            if not status:
                continue
            record = _loaded(engine, look, container_id, status, text, belonging.get(container_id))
        except EstivaError as error:
            if damaged is not None:
                damaged.append(error)
            continue
        if not all and not record["State"]["Running"] and "status" not in (filters or {}):
            continue
        if named is not None and not (named(record["Name"]) or named(record["Name"].removeprefix("/"))):
            continue
        if matches(record, filters or {}):
            rows.append(record)
    if known is not None and look is not None and within is None:
        known.end(look)
    return rows


def _loaded(
    engine: Engine,
    look: Look | None,
    container_id: str,
    status: str,
    text: str,
    belongings: dict[str, EndpointRecord] | None,
) -> Record:
    """A settled row's record, from what is known where it can be."""
    made_of = (container_id, status, text, belongings)
    record = look.find(engine, *made_of) if look is not None else None
    if record is None:
        entry = look.watch(engine, *made_of) if look is not None else None
        record = load(engine, container_id, status, text)
        if belongings is not None:
            add_networks(record, belongings)
        if look is not None:
            look.keep(entry, record)
    return record


def add_networks(record: Record, belongings: dict[str, EndpointRecord]) -> None:
    """NetworkSettings.Networks with those that it is not in now."""
    from estiva.engine.state.net import endpoint_shape

    mode = record["HostConfig"]["NetworkMode"]
    shown = record["NetworkSettings"].setdefault("Networks", {"bridge": {}} if mode == "bridge" else {})
    endpoint_shape.wished(shown, belongings, record["Id"], record["Name"].removeprefix("/"))


def networks_of(record: Record) -> dict[str, str]:
    """The networks of a listed container, by name, with their ids."""
    shown = record["NetworkSettings"].get("Networks")
    if shown is None:
        return {record["HostConfig"]["NetworkMode"]: ""}
    return {name: endpoint.get("NetworkID") or "" for name, endpoint in shown.items()}


def check(filters: dict[str, list[str]]) -> None:
    """Raises InvalidInput for a filter that there isn't, or a value that no container can have."""
    for key, values in filters.items():
        if key not in FILTERS:
            raise InvalidInput(f"invalid filter '{key}'", hint=f"one of {', '.join(FILTERS)}")
        if key == "is-task":
            raise Unsupported("the filter 'is-task' is not supported: there is no swarm here")
        if key in ("publish", "expose"):
            ps_filters.ports(key, values)
        for value in values:
            if key == "status" and value not in STATUSES:
                raise InvalidInput(f"invalid filter 'status={brief(value, 60)}'", hint=", ".join(STATUSES))
            if key == "health" and value not in HEALTH:
                raise InvalidInput(f"invalid filter 'health={brief(value, 60)}'", hint=", ".join(HEALTH))
            if key == "exited" and not (value.isascii() and value.isdigit()):
                raise InvalidInput(f"invalid filter 'exited={brief(value, 60)}'", hint="an exit status")


def made_from(engine: Engine, refs: list[str]) -> list[str]:
    """The ids of the images of containers that are one of `refs` (names, without a tag that of `latest`, or
    ids), or have all of its layers and more. What is no image has none.
    """
    ancestors = [image for image in (_image(engine, ref) for ref in refs) if image is not None]
    found = []
    for image_id in containers.images(engine.db):
        image = _image(engine, image_id)
        if image is not None and any(_descends(image, ancestor) for ancestor in ancestors):
            found.append(image_id)
    return found


def _descends(image: Image, ancestor: Image) -> bool:
    below = ancestor.diff_ids
    more = len(image.diff_ids) > len(below) > 0
    return image.id == ancestor.id or (more and image.diff_ids[: len(below)] == below)


def _image(engine: Engine, ref: str) -> Image | None:
    try:
        return engine.store.images.find(ref)
    except EstivaError:
        return None


def matches(record: Record, filters: dict[str, list[str]]) -> bool:
    """Whether a container passes all filters but `name`, `before` and `since`."""
    labels = record["Config"].get("Labels") or {}
    for key, values in filters.items():
        if key == "id":
            fits = any(record["Id"].startswith(value) for value in values)
        elif key in ("name", "before", "since"):
            continue  # see listing
        elif key == "publish":
            fits = ps_filters.has_ports(record, ps_filters.ports(key, values), set())
        elif key == "expose":
            fits = ps_filters.has_ports(record, set(), ps_filters.ports(key, values))
        elif key == "status":
            fits = record["State"]["Status"] in values
        elif key == "label":
            pairs = [value.partition("=") for value in values]
            fits = all(k in labels and (not sep or labels[k] == v) for k, sep, v in pairs)
        elif key == "ancestor":
            fits = record["Image"] in values
        elif key == "exited":
            fits = not record["State"]["Running"] and str(record["State"]["ExitCode"]) in values
        elif key == "health":
            fits = (record["State"].get("Health") or {"Status": "none"})["Status"] in values
        elif key == "volume":
            fits = any(
                v in (m.get("Name"), m["Source"], m["Destination"]) for m in record["Mounts"] for v in values
            )
        else:  # network
            known = networks_of(record)
            fits = any(
                value in known or any(value and each.startswith(value) for each in known.values())
                for value in values
            )
        if not fits:
            return False
    return True


def status(state: State) -> str:
    """ "Up 3 minutes (healthy)", "Exited (0) 2 hours ago"."""
    now = time.time()
    if state["Restarting"]:
        return f"Restarting ({state['ExitCode']}) {ago(now - seconds(state['FinishedAt']))}"
    if state["Running"]:
        more = ""
        if state["Paused"]:
            more = " (Paused)"
        elif "Health" in state:
            health = state["Health"]["Status"]
            more = f" ({'health: ' if health == 'starting' else ''}{health})"
        return f"Up {duration(now - seconds(state['StartedAt']))}{more}"
    if state["Status"] == "created":
        return "Created"
    if state["Status"] == "dead":
        return "Dead"
    if state["FinishedAt"] == ZERO:
        return f"Exited ({state['ExitCode']}), {state['Error']}".removesuffix(", ")
    return f"Exited ({state['ExitCode']}) {ago(now - seconds(state['FinishedAt']))}"


def command(record: Record) -> str:
    """The command of a list's row: arguments with a blank in single quotes."""
    return " ".join([record["Path"], *(f"'{word}'" if " " in word else word for word in record["Args"])])
