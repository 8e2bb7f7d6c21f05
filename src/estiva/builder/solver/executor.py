"""A build from end to end: read the Dockerfile, plan, run the stages that are needed, make the image."""

from __future__ import annotations

from estiva.builder.cache.remote import FIELD
from estiva.builder.frontend import foreign, stages
from estiva.builder.solver.beside import Beside
from estiva.builder.solver.job import Job
from estiva.builder.solver.parallel import Parallel
from estiva.builder.solver.stage import StageRun
from estiva.builder.steps import run
from estiva.builder.steps.written import Fetched
from estiva.errors import EstivaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from estiva.builder.cache.remote import Remote
    from estiva.builder.request import Progress, Request, ResolveImage, RunStep
    from estiva.builder.steps.state import State
    from estiva.builder.steps.together import Together
    from estiva.store import Store
    from estiva.store.images import Image


def _counted(name: str) -> bool:
    """Whether a build argument wants an ARG that takes it."""
    predefined = name.upper() in run.PROXIES or name.startswith("BUILDKIT_") or name == "SOURCE_DATE_EPOCH"
    return not predefined


def build(
    request: Request,
    *,
    store: Store,
    run_step: RunStep,
    resolve_image: ResolveImage,
    progress: Progress | None = None,
    remote: Remote | None = None,
    look: Callable[[], object] | None = None,
    ahead: Callable[[str, bool], None] | None = None,
    together: Together | None = None,
) -> Image:
    """Build an image and return it, untagged; an unchanged build returns the image that it made before.

    `progress` gets events: {"step": "2/9", "stage", "index" (which of the stages that are built), "place":
    "1/3" in it, "instruction", "status": "running" | "cached" | "done" | "error" (with "error", the message),
    "seconds"}, the same with "status": "output" and "data" (bytes) for what a command writes, and {"status":
    "warning", "message"}.
    Raises DockerfileError, BuildFailed and other EstivaErrors, all naming the Dockerfile's line.
    `remote` are caches elsewhere. `look` is called often, by all threads that work: what it raises ends the
    build, and nothing more is kept of it. `ahead` is told, once, that a command is to be run soon, its
    network, and whether others may be. With `together` others are built beside it, for other platforms.
    """
    with store.writing():
        job = Job(request, store, run_step, resolve_image, progress, remote, _stage, look, together)
        job.ahead = ahead
        try:
            image = _run(job)
        except BaseException as error:
            job.close(None if isinstance(error, EstivaError) else error)
            raise
        job.close()
        return image


def _run(job: Job) -> Image:
    """Build the target's image. Raises EstivaError."""
    request = job.request
    context = job.sources.context
    dockerfile, context.exclude = job.sources.contexts.dockerfile(context)
    request.read = (dockerfile.name, dockerfile.text)
    job.plan = stages.make(dockerfile, request.build_args, job.platform_args())
    job.sources.contexts.replace(job.plan)
    target = job.plan.target(request.target)
    needed = job.plan.needed(target)
    for typed in (typed for stage in needed for typed in stage.steps):
        run.refuse_wider(typed, request)  # before anything is fetched or run
    job.order = {stage.index: number for number, stage in enumerate(needed)}
    job.commands = sum(typed.name == "RUN" for stage in needed for typed in stage.steps)
    job.total = sum(1 + len(stage.steps) for stage in needed)
    if told := foreign.warning(dockerfile, request.build_args):
        job.warn(told)
    job.defining = job.remote is not None or (len(needed) > 1 and job.cache(target).defines())
    job.frugal = job.defining and not (job.remote is not None and job.remote.whole)
    checked = Beside(job, needed, context.exclude)
    try:
        parallel = Parallel(job, needed, target)
        if job.remote is not None and not job.frugal:
            parallel.busy()
        parallel.run()
    except EstivaError:
        checked.tell()
        raise
    checked.tell()
    for stage in needed:
        if not job.states.begun(stage.index):
            StageRun(job, stage).skipped()
    final = job.state(target)
    for name in sorted(filter(_counted, set(request.build_args) - job.plan.declared)):
        job.warn(f"build argument {name} is not used")
    if request.labels:
        final.config["Labels"] = {**(final.config.get("Labels") or {}), **request.labels}
    final.document.setdefault("created", job.clock())
    _keep_fetched(job)
    document = final.finished()
    if job.remote is not None and (inline := job.remote.inline(document["rootfs"]["diff_ids"])):
        document[FIELD] = inline
    return job.cache(target).image(document, final.inherited, hidden=request.hidden)


def _keep_fetched(job: Job) -> None:
    """Of the layers that come from a cache elsewhere, wait for those, too, that nobody has looked into: the
    next build may look, and not name that cache. Raises what keeps one from it, so a lie is told.
    """
    if job.remote is None:
        return
    layers = [layer for state in job.states.values() for layer in state.layers if isinstance(layer, Fetched)]
    arrived: list[Fetched] = []
    try:
        for layer in layers:
            layer.wait()
            arrived.append(layer)
    finally:
        if arrived:
            with job.store.db.write():  # one for all
                for layer in arrived:
                    layer.arrive()


def _stage(job: Job, stage: stages.Stage) -> State:
    return StageRun(job, stage).run()
