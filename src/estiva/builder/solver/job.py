"""What the stages of one build share: where files come from, what is known, whom to tell, whether to stop."""

from __future__ import annotations

from _thread import allocate_lock

from estiva.builder.cache import local
from estiva.builder.files.workspace import Workspace
from estiva.builder.once import Once
from estiva.builder.solver.packing import Packing
from estiva.builder.solver.sources import Sources
from estiva.errors import EstivaError, InvalidInput, Stopped
from estiva.oci.platform import Platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from estiva.builder.cache.remote import Remote
    from estiva.builder.fetch.told import Told
    from estiva.builder.frontend import stages
    from estiva.builder.request import Progress, Request, ResolveImage, RunStep
    from estiva.builder.steps.state import State
    from estiva.builder.steps.together import Together
    from estiva.store import Store


class Job:
    """One running build: what its stages share, in several threads. `plan` comes with the Dockerfile.
    `busy` is for who begins with what may take long (parallel.py).
    """

    plan: stages.Plan

    def __init__(
        self,
        request: Request,
        store: Store,
        run_step: RunStep,
        resolve_image: ResolveImage,
        progress: Progress | None,
        remote: Remote | None,
        run_stage: Callable[[Job, stages.Stage], State],
        asked: Callable[[], object] | None = None,
        together: Together | None = None,
    ) -> None:
        """`together`: the builds beside it, for other platforms."""
        self.request = request
        self.store = store
        self.run_step = run_step
        self.progress = progress
        self.remote = remote
        self.run_stage = run_stage
        epoch(request)  # raises for what is none; no step depends on it: the image is capped at its end
        self.host = Platform.host()
        self.wanted = Platform.parse(request.platform) if request.platform else self.host
        self.used: dict[str, float] = {}  # entries of the cache
        self.states: Once[int, State] = Once()
        self.defining = False  # steps are looked for by the definitions of stages
        self.frugal = False  # and those are only built when they are read from
        self.definitions: Once[int, State | None] = Once()  # see definition.py
        self.passed: dict[int, int] = {}  # the line of the last instruction that was done, by stage
        self.asked = asked if together is None else together.look
        self.together = together
        self.failure: BaseException | None = None  # the first
        self.cancelled: BaseException | None = None  # what ended it for the caller: nothing more is kept
        self.busy: Callable[[], None] = _nobody
        self.ahead: Callable[[str, bool], None] | None = None
        self.commands = 0  # as far as the Dockerfile has them
        self.packing = Packing(self.failed)
        self.number = 0
        self.total = 0
        self.order: dict[int, int] = {}  # the stages that are built: index -> which of them
        self._counting = allocate_lock()
        self._telling = allocate_lock()
        self.workspace = Workspace(store.paths)
        try:
            self.sources = Sources(
                request,
                store,
                self.workspace,
                resolve_image,
                self.look,
                self.fetching,
                self._waiting,
                together,
            )
        except BaseException:
            self.workspace.close()
            raise

    def _waiting(self) -> None:
        """Something is fetched. With definitions nobody knows yet what else is needed."""
        if not self.frugal:
            self.busy()

    def close(self, cancelled: BaseException | None = None) -> None:
        """What steps have written is kept even if a later one failed; not when the build is `cancelled`."""
        try:
            self.cancelled = self.cancelled or cancelled
            self._packed()
        finally:
            self.sources.close()
            self.workspace.close()
        try:
            local.touch(self.store, self.used)
        except EstivaError:
            if self.failure is None:  # which is what there is to tell
                raise

    def _packed(self) -> None:
        """Wait for the packers. Who has enough of that cancels the rest, and waits for what has begun."""
        try:
            self.packing.close(self.cancelled)
        except BaseException as error:
            self.cancelled = self.cancelled or error
            self.packing.close(self.cancelled)
            raise

    def state(self, stage: stages.Stage) -> State:
        """The state at the end of a stage, which is run now if nobody does it already."""
        return self.states.get(stage.index, lambda: self.run_stage(self, stage))

    def command_ahead(self, network: str) -> None:
        """A step is about to run a command, the first of the build or not."""
        with self._counting:
            ahead, self.ahead = self.ahead, None
        if ahead is not None:
            ahead(network, self.commands > 1)

    def cache(self, stage: stages.Stage) -> local.Cache:
        off = self.request.no_cache or self.anew(stage)
        return local.Cache(self.store, off=off, used=self.used)

    def anew(self, stage: stages.Stage) -> bool:
        """Whether that stage is to be built without the cache, whatever becomes of others."""
        names = self.request.no_cache_filter
        return stage.label in names or stage.alias in names

    def look(self) -> None:
        """Raises Stopped once another stage has failed, and what the caller's look does. For threads that
        work: it is cheap."""
        if self.failure is not None:
            raise Stopped("the build was stopped")
        self._ask()

    def go_on(self) -> None:
        """Raises what the build was cancelled by. What steps have written is worth keeping until then."""
        try:
            self._ask()
        except Stopped:
            pass

    def _ask(self) -> None:
        if self.cancelled is not None:
            raise self.cancelled
        if self.asked is not None:
            self._caller(self.asked)

    def _caller(self, function: Callable[..., object], *arguments: object) -> None:
        try:
            function(*arguments)
        except Stopped:
            raise
        except BaseException as error:
            self.cancelled = self.cancelled or error
            raise

    def failed(self, error: BaseException) -> None:
        """Have everybody stop."""
        if self.failure is None:
            self.failure = error

    def tell(self, event: dict[str, Any]) -> None:
        """Tell the caller, one event after the other. Raises what the caller does, and Stopped."""
        self.look()
        if self.progress is not None:
            with self._telling:
                self._caller(self.progress, event)

    def fetching(self, kind: str, name: str) -> Told:
        """Who tells of what is fetched: a repository ("git") or a file of the web ("http")."""
        from estiva.builder.fetch.told import Told

        return Told(self.tell, kind, name)

    def next_step(self) -> str:
        """The number of the step that begins now, of all that are known."""
        with self._counting:
            self.number += 1
            return f"{self.number}/{self.total}"

    def add(self, count: int) -> int:
        """Count so many steps more; how many there are now."""
        with self._counting:
            self.total += count
            return self.total

    def clock(self) -> str:
        return local.timestamp(None)

    def warn(self, message: str) -> None:
        self.tell({"status": "warning", "message": message})

    def platform_args(self) -> dict[str, str]:
        return platform_args(self.wanted, self.host, self.request.target)


def platform_args(wanted: Platform, host: Platform, target: str | None) -> dict[str, str]:
    """The arguments that every build has, of what it is for and where it runs."""
    result: dict[str, str] = {}
    for prefix, platform in (("TARGET", wanted), ("BUILD", host)):
        result[prefix + "PLATFORM"] = "/".join(platform.written().values())
        result[prefix + "OS"] = platform.os
        result[prefix + "ARCH"] = platform.architecture
        result[prefix + "VARIANT"] = platform.written().get("variant", "")
        result[prefix + "OSVERSION"] = ""  # there is none but on Windows
    result["TARGETSTAGE"] = target or "default"
    return result


def _nobody() -> None:
    """No other thread waits for something to do."""


def epoch(request: Request) -> int | None:
    """SOURCE_DATE_EPOCH of a build in seconds, or None. Raises InvalidInput."""
    if request.source_date_epoch is not None:
        return request.source_date_epoch
    text = request.build_args.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()) or len(text) > 11:
        raise InvalidInput(f"SOURCE_DATE_EPOCH must be a number of seconds, not {text[:40]!r}")
    return int(text)
