"""Verbs and flags of Docker's that Estiva refuses, with the reason: looked at only when one is not known."""

from __future__ import annotations

from estiva.cmdline.parser import FlagError

_WINDOWS = "it is for containers of Windows"
_SWARM = "it is for cluster volumes, and Estiva has no swarm"
_CRIU = "checkpoints are taken with `estiva-oci checkpoint` and restored with `estiva-oci restore`"
_LINKS = "links are lines of a container's own network: make the container again without it"

# verb -> flag -> why not. "" is for every verb.
REFUSED = {
    "": {
        "cpu-count": _WINDOWS,
        "cpu-percent": _WINDOWS,
        "io-maxbandwidth": _WINDOWS,
        "io-maxiops": _WINDOWS,
        "checkpoint": _CRIU,
        "checkpoint-dir": _CRIU,
    },
    "rm": {"link": _LINKS},
    "volume create": dict.fromkeys(
        (
            "availability", "group", "limit-bytes", "required-bytes", "scope", "secret", "sharing",
            "topology-preferred", "topology-required", "type",
        ),
        _SWARM,
    ),
    "build": {
        "squash": "layers stay as they are, so that images share them",
        **dict.fromkeys(("detach", "root", "server-config"), "there is no server that builds"),
        "print": "it was buildx's word for --call",
    },
    "manifest annotate": {"os-features": "it is for images of Windows"},
    "builder prune": {
        "builder": "there is one builder here",
        "verbose": "`builder du --verbose` tells more before",
    },
    "volume ls": {"cluster": _SWARM},
    "network create": dict.fromkeys(
        ("config-from", "config-only", "ingress", "scope"), "it is for networks of a swarm"
    ),
}  # fmt: skip

VERBS = {"volume update": _SWARM}

# what to do instead of a verb that is not there yet
LATER = {
    "buildx": "`estiva build` takes its words; `builder` has du and prune",
    "checkpoint": "`estiva-oci` has checkpoint and restore",
    "context": "docker's own client has contexts, and `estiva api serve` answers it",
}

_SAME = {"builder build": "build", "image build": "build"}


def explained(verb: str, error: FlagError) -> FlagError:
    """The error about an unknown flag of `verb` ("estiva volume create"), with the reason where it is one of
    Docker's that Estiva refuses.
    """
    verb = verb.removeprefix("estiva ").removeprefix("container ")
    verb = _SAME.get(verb, verb)
    flag = error.message.removeprefix("unknown flag: --")
    why = REFUSED.get(verb, {}).get(flag) or REFUSED[""].get(flag)
    if why is None:
        return error
    return FlagError(f"--{flag} is not supported: {why}", hint="leave it out")
