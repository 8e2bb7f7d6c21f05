"""RUN --device: a device by the Container Device Interface, as BuildKit's labs channel has it."""

from __future__ import annotations

from estiva.builder.frontend.run_mounts import boolean, csv_fields
from estiva.builder.struct import struct
from estiva.errors import InvalidInput


@struct
class Device:
    """`name` is vendor.com/class=name, vendor.com/class (its first), vendor.com/class=* (all), or a class
    that the devices' specs name. One that is not `required` may be absent.
    """

    name: str
    required: bool = False


def parse(text: str) -> Device:
    """A --device value: NAME, or name=NAME, with ",required". Raises InvalidInput."""
    device = Device("")
    for field in csv_fields("device", text):
        key, equals, value = field.partition("=")
        key = key.strip().lower()
        if key == "required":
            device.required = boolean("required", value if equals else None)
        elif key == "name" and equals and not device.name:
            device.name = value
        elif not device.name:
            device.name = field
        else:
            raise InvalidInput(f"unexpected --device field {field!r}", hint="NAME, or NAME,required")
    if not device.name:
        raise InvalidInput("a --device needs a name", hint="vendor.com/class=name")
    return device
