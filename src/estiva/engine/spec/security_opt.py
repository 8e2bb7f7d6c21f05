"""TODO docstring."""

from __future__ import annotations

from estiva.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def split_option(option: str) -> tuple[str, str]:
    """(key, value) of a SecurityOpt's KEY=VALUE or KEY:VALUE.

    The first of both separates: a profile's path may have the other in it.
    """
    key, _, value = option.partition("=" if "=" in option.partition(":")[0] else ":")
    return key, value


def security_options(host_config: dict[str, Any]) -> tuple[str, bool]:
    """(seccomp: "" for the default, "unconfined" or a file; no_new_privileges) from
    HostConfig.SecurityOpt.
    """
    seccomp, no_new_privileges = "", False
    for option in host_config.get("SecurityOpt") or ():
        key, value = split_option(option)
        if key == "seccomp" and value:
            seccomp = value
        elif key == "no-new-privileges" and value in ("", "true", "false"):
            no_new_privileges = value != "false"
        elif key not in ("apparmor", "label") or not value:
            raise InvalidInput(
                f"invalid --security-opt: {option}", hint="seccomp=FILE|unconfined or no-new-privileges"
            )
    return ("unconfined" if host_config.get("Privileged") and not seccomp else seccomp), no_new_privileges
