"""The check of a build that goes on, beside it: what is likely a mistake is told when the build has ended."""

from __future__ import annotations

from estiva.builder.frontend.syntax import CHECK
from estiva.errors import EstivaError, InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.builder.frontend import stages
    from estiva.builder.frontend.ignore import Matcher
    from estiva.builder.frontend.lint.rule import Finding
    from estiva.builder.solver.check import BaseConfig, Check
    from estiva.builder.solver.job import Job

_MOST = 2000  # instructions of a Dockerfile that a build has looked through beside


class Beside:
    """The check of a build that goes on: its findings are told when the build has ended.

    Where they are to be an error, the base images are looked for first, and nothing is run.
    """

    def __init__(self, job: Job, needed: list[stages.Stage], ignored: Matcher | None) -> None:
        self.job = job
        self.needed = needed
        self.ignored = ignored
        given = CHECK in job.request.build_args or "check" in job.plan.dockerfile.directives
        if given and self._check(self._found).options.error:
            check = self._check(self._fetched)
            found = check.run(needed)
            if found:
                self._tell(found)
                names = ", ".join(sorted({finding.rule.name for finding in found}))
                raise InvalidInput(
                    f"{job.plan.dockerfile.name}: warnings are errors here: {names}",
                    hint="the directive check=error=true, or BUILDKIT_DOCKERFILE_CHECK, says so",
                )

    def tell(self) -> None:
        """Tell what was found, whether the build has failed or not; nothing of a file that nobody reads."""
        job = self.job
        if job.progress is None or not job.request.check or len(job.plan.dockerfile.instructions) > _MOST:
            return
        check = self._check(self._found)
        try:
            check.run(self.needed)
        except EstivaError:  # the build has told it, or does not mind
            pass
        self._tell(check.report.ordered())

    def _tell(self, found: list[Finding]) -> None:
        if self.job.progress is None or not found:
            return
        many = f"{len(found)} warnings" if len(found) > 1 else "1 warning"
        event = {"status": "warning", "check": True}
        self.job.progress({**event, "message": f"{many} found (use --check to expand):"})
        for finding in found:
            told = {"message": str(finding), "rule": finding.rule.name, "line": finding.line}
            self.job.progress({**event, **told})

    def _check(self, base: BaseConfig) -> Check:
        from estiva.builder.solver.check import Check

        job = self.job
        return Check(job.plan, job.request, job.wanted, self.ignored, base)

    def _found(self, stage: stages.Stage) -> dict[str, Any] | None:
        image = self.job.sources.known(stage.image, stage.platform or self.job.request.platform)
        return None if image is None else image.config

    def _fetched(self, stage: stages.Stage) -> dict[str, Any] | None:
        return self.job.sources.image(stage.image, stage.platform or self.job.request.platform or None).config
