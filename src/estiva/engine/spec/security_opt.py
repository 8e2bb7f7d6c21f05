"""The common words of --security-opt: seccomp and no-new-privileges. The rarer ones: confinement.py."""

from __future__ import annotations

from estiva.errors import InvalidInput, NotFound, brief, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.config_types import HostConfig
    from estiva.engine.state.types import Seccomp

MAX_PROFILE = 1 << 20  # bytes
BUILT_IN = ("", "builtin", "unconfined")


def split_option(option: str) -> tuple[str, str]:
    """(key, value) of a SecurityOpt's KEY=VALUE or KEY:VALUE.

    The first of both separates: a profile's path may have the other in it.
    """
    key, _, value = option.partition("=" if "=" in option.partition(":")[0] else ":")
    return key, value


def absolute(option: str) -> str:
    """An option as the caller's words name it: a profile's path is below the working directory."""
    import os

    key, value = split_option(option)
    if key != "seccomp" or value in BUILT_IN or value.startswith("{"):
        return option
    return f"seccomp={os.path.abspath(value)}"


def security_options(host_config: HostConfig) -> tuple[str, bool]:
    """(seccomp: "" for the default, "unconfined", a file or a profile in JSON; no_new_privileges) from
    HostConfig.SecurityOpt. Raises InvalidInput.
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
                f'invalid --security-opt: "{brief(option)}"',
                hint="seccomp=FILE|unconfined or no-new-privileges[:true|:false]",
            )
    return ("unconfined" if host_config.get("Privileged") and not seccomp else seccomp), no_new_privileges


def check(host_config: HostConfig) -> None:
    """Raises InvalidInput for an option that there is not, and what `profile` raises."""
    profile(security_options(host_config)[0])


def profile(seccomp: str) -> Seccomp | None:
    """What the monitor needs of what `security_options` found: None for no filter, {} for the default one,
    else {"profile": ...}. Read anew for every start. Raises NotFound, InvalidInput.
    """
    if seccomp == "unconfined":
        return None
    if seccomp in BUILT_IN:
        return {}
    from estiva import fastjson, files

    if seccomp.startswith("{"):
        return {"profile": fastjson.loads(seccomp, what="the seccomp profile")}
    if not seccomp.startswith("/"):
        raise InvalidInput(f"seccomp profile {brief(seccomp)}: its path must be absolute")
    try:
        data = files.read_bounded(seccomp, MAX_PROFILE)
    except OSError as error:
        raise NotFound(f"opening seccomp profile ({brief(seccomp)}) failed: {reason(error)}") from None
    return {"profile": fastjson.loads(data, what=f"seccomp profile {brief(seccomp)}")}
