"""The service as an ASGI application."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from act2sal.predict.detector import Detector
from act2sal.serve.gate import Gate
from act2sal.serve.predicting import predict_router
from act2sal.serve.problems import ProblemError
from act2sal.serve.removebg import removebg_router
from act2sal.serve.service import Service
from act2sal.serve.settings import Settings
from act2sal.version import __version__

STATIC = Path(__file__).parent / "static"
"""The pages: plain HTML, CSS and JavaScript modules."""


def app_of(detector: Detector, settings: Settings) -> FastAPI:
    """The application of one service.

    Args:
        detector: makes the maps.
        settings: how it behaves.
    """
    service = Service(detector, settings)
    app = FastAPI(
        title="act2sal",
        version=__version__,
        description="Finds the salient object of photos. Errors are application/problem+json.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        lifespan=_lifespan(service),
    )
    app.add_middleware(Gate, settings=settings, metrics=service.metrics)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-Api-Key", "X-Request-ID"],
            expose_headers=["ETag", "X-Request-ID", "Act2sal-Confidence", "Act2sal-Area", "Act2sal-Size"],
        )
    app.add_exception_handler(ProblemError, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.include_router(predict_router(service))
    app.include_router(removebg_router(service))
    if settings.run is not None:
        _add_training(app, service, settings.run)
    _add_facts(app, service)
    _add_pages(app, training=settings.run is not None)
    return app


def _lifespan(service: Service) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        batches = asyncio.create_task(service.studio.batcher.run())
        warming = asyncio.create_task(service.studio.warm())
        if service.review is not None:
            look = partial(service.review.look, service.detector.network)
            threading.Thread(target=look, name="doubt", daemon=True).start()
        try:
            yield
        finally:
            for task in (warming, batches):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            service.close()

    return lifespan


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return error.response(request.scope["state"]["request_id"])


async def _on_http_error(request: Request, error: Exception) -> Response:
    """What the router refuses: an unknown address, or another method."""
    assert isinstance(error, HTTPException)
    problem = ProblemError(error.status_code, str(error.detail).lower(), dict(error.headers or {}))
    return problem.response(request.scope["state"]["request_id"])


def _add_training(app: FastAPI, service: Service, run: Path) -> None:
    from act2sal.serve.training import review_router, training_router  # which load PyTorch, as trainings do

    app.include_router(training_router(service, run))
    if service.review is not None:
        app.include_router(review_router(service, service.review))


def _add_facts(app: FastAPI, service: Service) -> None:
    @app.get("/v1/health")
    async def health() -> dict[str, object]:
        """Whether the service can be asked, and whether it shows a training and its labels."""
        return {
            "status": "ok",
            "training": service.settings.run is not None,
            "review": service.review is not None,
        }

    @app.get("/v1/model")
    async def model() -> dict[str, object]:
        """What makes the maps, and what this service takes on."""
        limits = service.limits
        return {
            "version": __version__,
            "size": service.detector.size,
            "device": service.detector.device,
            "encoders_saw": service.detector.seen,
            "confidence": service.detector.network.rates,
            "limits": {
                "bytes": limits.bytes,
                "pixels": limits.pixels,
                "files": limits.files,
                "seconds": limits.seconds,
                "queue": limits.queue,
            },
        }

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Counts, in Prometheus' text format."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_pages(app: FastAPI, *, training: bool) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        """The page for people who want results."""
        return FileResponse(STATIC / "index.html")

    if training:

        @app.get("/training", include_in_schema=False)
        async def training_page() -> FileResponse:
            """The page for people who train."""
            return FileResponse(STATIC / "training.html")

    app.mount("/static", StaticFiles(directory=STATIC), name="static")
