"""--device and --gpus as HostConfig's Devices and DeviceRequests; loaded when one of them is given."""

from __future__ import annotations

from estiva.cmdline.parser import converted
from estiva.engine.spec import devices as nodes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.cmdline.parser import Option, Options


def read(options: Options, kinds: dict[str, Option]) -> dict[str, Any]:
    """HostConfig of the devices asked for. Raises UsageError."""
    devices: list[dict[str, str]] = []
    named: list[str] = []
    for text in options.many("device"):
        if "=" in text and not text.startswith("/"):
            named.append(text)
        else:
            devices.append(converted(kinds["device"], text, nodes.from_word))
    requests: list[dict[str, Any]] = []
    if options.given("gpus"):
        requests.append(converted(kinds["gpus"], options.text("gpus"), gpus))
    if named:
        from estiva.engine.spec.cdi import devices as cdi

        requests.append(cdi.request(named))
    host: dict[str, Any] = {}
    if devices:
        host["Devices"] = devices
    if requests:
        host["DeviceRequests"] = requests
    return host


def gpus(text: str) -> dict[str, Any]:
    """A DeviceRequest of all, N, or CSV of count=, device=, capabilities=, driver=, options=."""
    from _csv import Error
    from _csv import reader as csv

    try:
        rows = list(csv([text], strict=True))
    except Error as error:
        raise ValueError(str(error)) from None
    request: dict[str, Any] = {
        "Driver": "",
        "Count": 0,
        "DeviceIDs": None,
        "Capabilities": [["gpu"]],
        "Options": {},
    }
    seen: set[str] = set()
    for field in rows[0] if rows else []:
        key, equals, value = field.partition("=")
        if not equals:
            key, value = "count", field
        if key in seen:
            raise ValueError(f"gpu request key '{key}' can be specified only once")
        seen.add(key)
        if key == "count":
            request["Count"] = _count(value)
        elif key == "device":
            request["DeviceIDs"] = value.split(",")
        elif key == "driver":
            request["Driver"] = value
        elif key == "capabilities":
            request["Capabilities"] = [[*value.split(","), "gpu"]]
        elif key == "options":
            request["Options"] = dict(
                pair.partition("=")[::2] for pair in next(iter(csv([value])), []) if pair
            )
        else:
            raise ValueError(f"unexpected key '{key}' in '{field}'")
    if request["Count"] and request["DeviceIDs"]:
        raise ValueError("cannot set both count and device")
    if "count" not in seen and request["DeviceIDs"] is None:
        request["Count"] = 1
    return request


def _count(text: str) -> int:
    if text == "all":
        return -1
    if text == "-1" or (text.isascii() and text.isdigit() and len(text) < 6):
        return int(text)
    raise ValueError(f'invalid count ({text}): value must be either "all" or an integer')
