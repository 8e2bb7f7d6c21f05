"""Which system-call filter a plan asks for."""

from __future__ import annotations

from estiva.runtime.security import seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.types import ExecPlan, Plan


def seccomp_filter(plan: Plan | ExecPlan) -> bytes | None:
    """The BPF program of plan["seccomp"]: None, {} for the default profile, {"strict": True}, or
    {"profile": {...}}."""
    wanted = plan["seccomp"]
    if wanted is None:
        return None
    capabilities = plan["config"]["process"]["capabilities"]["bounding"]
    if "profile" in wanted:
        return seccomp.profile_filter(wanted["profile"], capabilities, plan["cache"])
    return seccomp.default_filter(capabilities, plan["cache"], strict=wanted.get("strict", False))
