"""Which system-call filter a plan asks for."""

from __future__ import annotations

from estiva.runtime.security import seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def seccomp_filter(plan: dict[str, Any]) -> bytes | None:
    """The BPF program of plan["seccomp"]: None, {} for the default profile, or {"profile": {...}}."""
    wanted = plan["seccomp"]
    if wanted is None:
        return None
    capabilities = plan["config"]["process"]["capabilities"]["bounding"]
    if "profile" in wanted:
        return seccomp.profile_filter(wanted["profile"], capabilities, plan["cache"])
    return seccomp.default_filter(capabilities, plan["cache"])
