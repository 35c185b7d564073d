"""The page for people who train: a run as it is, and the review of its pseudo labels."""

from pathlib import Path

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.responses import FileResponse, Response

from act2sal.config import TrainConfig
from act2sal.config_files import load_toml
from act2sal.runs.samples import Sample, read_samples
from act2sal.serve.problems import ProblemError
from act2sal.serve.review import DECISIONS, Review
from act2sal.serve.run_log import progress_of, read_rows
from act2sal.serve.service import Service
from act2sal.serve.threads import in_thread
from act2sal.serve.uploads import limited

PICTURES = ("photo", "activation", "cue", "label", "prediction")


class Decision(BaseModel):
    """What a person decided about the label of one photo."""

    model_config = ConfigDict(extra="forbid")
    number: int
    decision: str


def training_router(service: Service, run: Path) -> APIRouter:
    """What shows a run."""
    router = APIRouter()

    @router.get("/v1/run")
    async def state() -> dict[str, object]:
        """Stage, epoch, time that is left, curves and samples."""
        return await in_thread(service.studio.pool, lambda: _state(run))

    @router.get("/v1/run/samples/{number}/{name}", response_class=Response)
    async def sample(number: int, name: str) -> Response:
        """A picture of a sample."""
        samples = read_samples(run / "samples")
        if not 0 <= number < len(samples):
            raise ProblemError(404, "there is no such sample")
        path = _pictures(samples[number]).get(name)
        if path is None:
            raise ProblemError(404, "there is no such picture yet")
        return FileResponse(path)

    return router


def _state(run: Path) -> dict[str, object]:
    rows = read_rows(run / "log.jsonl")
    samples = read_samples(run / "samples")
    file = run / "config.toml"
    config = load_toml(file, TrainConfig()) if file.is_file() else TrainConfig()
    return {
        **progress_of(rows, config, finished=(run / "report.html").is_file()),
        "rows": rows[-2000:],
        "samples": [{"name": one.name, "pictures": list(_pictures(one))} for one in samples],
    }


def _pictures(sample: Sample) -> dict[str, Path]:
    found = {name: getattr(sample, name) for name in PICTURES}
    last = max(sample.rectified, default=None)
    if last is not None:
        found["rectified"] = sample.rectified[last]
    return {name: path for name, path in found.items() if path is not None}


def review_router(service: Service, review: Review) -> APIRouter:
    """What the review of labels asks and tells."""
    router = APIRouter()
    pool = service.studio.pool

    @router.get("/v1/review")
    async def labels() -> dict[str, object]:
        """All labels, the doubtful ones first as far as they have been looked at, and what was decided."""
        return await in_thread(pool, review.as_json)

    @router.get("/v1/review/{number}/{what}", response_class=Response)
    async def picture(number: int, what: str) -> Response:
        """The photo or the label of one entry, small."""
        return Response(await in_thread(pool, lambda: review.picture(number, what)), media_type="image/png")

    @router.post("/v1/review")
    async def decide(request: Request) -> dict[str, object]:
        """Accept, reject or invert a label; saved at once."""
        try:
            given = Decision.model_validate_json(b"".join([part async for part in limited(request, 10_000)]))
        except ValidationError as error:
            raise ProblemError(
                422, f"a decision has a number, and is one of {', '.join(DECISIONS)}"
            ) from error
        await in_thread(review.writer, lambda: review.decide(given.number, given.decision))
        return {"number": given.number, "decision": given.decision}

    @router.post("/v1/review/{number}/label")
    async def repaint(number: int, request: Request) -> dict[str, object]:
        """Replace a label by a painted one: a PNG of the size of the small label."""
        content = b"".join([part async for part in limited(request, service.limits.bytes)])
        await in_thread(review.writer, lambda: review.repaint(number, content))
        return {"number": number, "decision": "painted"}

    return router
