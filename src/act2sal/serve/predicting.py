"""`POST /v1/predict`: photos in, maps, masks, cut-outs and the like out."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from act2sal.data.color_profiles import in_srgb
from act2sal.data.encoding import read_profile
from act2sal.predict.rendering import Rendered
from act2sal.serve.answers import answer
from act2sal.serve.connection import while_connected
from act2sal.serve.descriptions import PREDICT
from act2sal.serve.fetching import fetched
from act2sal.serve.problems import ProblemError
from act2sal.serve.service import Service
from act2sal.serve.studio import FULL, Size, decoded_at, pixels_of
from act2sal.serve.threads import in_thread
from act2sal.serve.uploads import Body, Upload, read_body
from act2sal.serve.wishes import Wish

PHOTO, BACKGROUND, URL = "photo", "background", "url"
"""Fields of the form: photos (several of the same name), a picture behind the object, and addresses of photos."""


def predict_router(service: Service) -> APIRouter:
    """The route of one service."""
    router = APIRouter()

    @router.post("/v1/predict", openapi_extra=PREDICT, response_class=Response)
    async def predict(request: Request) -> Response:
        """Find the salient object of one or several photos."""
        body = await read_body(request, service.limits)
        wish = Wish.of(_options(request, body))
        work = _answered(service, body, wish)
        return await while_connected(request, work, service.limits.seconds)

    return router


def _options(request: Request, body: Body) -> dict[str, Any]:
    """Those of the query, replaced by those of the form."""
    query = {name: request.query_params.getlist(name) for name in request.query_params}
    plain = {name: values if len(values) > 1 else values[0] for name, values in query.items()}
    return {name: value for name, value in (plain | body.fields).items() if name != URL}


async def _answered(service: Service, body: Body, wish: Wish) -> Response:
    uploads = await _photos(service, body)
    background = await picture_of(service, body, BACKGROUND)
    rendering = wish.rendering(background)
    size = Size(longest=wish.size)
    results: list[Rendered] = await all_of(
        [service.studio.rendered(upload.content, rendering, size) for upload in uploads]
    )
    service.metrics.photos.inc(len(results))
    names = [upload.name for upload in uploads]
    return await in_thread(service.studio.pool, lambda: answer(names, results, rendering, wish.answer))


async def all_of(work: list[Any]) -> list[Any]:
    """All results; the first error cancels the rest."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return [task.result() for task in tasks]


async def _photos(service: Service, body: Body) -> list[Upload]:
    unknown = set(body.files) - {PHOTO, f"{PHOTO}s", BACKGROUND}
    if unknown:
        raise ProblemError(422, f"files are called {PHOTO} or {BACKGROUND}, not {min(unknown)[:40]}")
    uploads = body.files.get(PHOTO, []) + body.files.get(f"{PHOTO}s", [])
    urls = body.fields.get(URL, [])
    uploads += await all_of([_from_url(service, url) for url in ([urls] if isinstance(urls, str) else urls)])
    if not uploads:
        raise ProblemError(422, f"there is no photo; send it as the file {PHOTO}")
    if len(uploads) > service.limits.files:
        raise ProblemError(413, f"{len(uploads)} photos are more than {service.limits.files}")
    return uploads


async def _from_url(service: Service, url: str) -> Upload:
    return Upload("photo", await content_at(service, url))


async def content_at(service: Service, url: str) -> bytes:
    """The content at an address, where the service was told to fetch.

    Raises:
        ProblemError: 403, as it was not; as `fetching.fetched`.
    """
    if not service.settings.allow_url:
        raise ProblemError(403, "this service does not fetch addresses; --allow-url lets it")
    return await in_thread(service.fetchers, lambda: fetched(url, service.limits.bytes))


async def picture_of(service: Service, body: Body, name: str) -> Any:
    """The pixels of a background, (H, W, 3) uint8 sRGB; None where there is none.

    Raises:
        ProblemError: it is no picture, or too large.
    """
    if name not in body.files:
        return None
    content = body.files[name][0].content
    pixels = await in_thread(service.studio.pool, lambda: pixels_of(content))
    if pixels > service.limits.pixels:
        raise ProblemError(
            413, f"the background has {pixels} pixels; this service takes {service.limits.pixels}"
        )
    async with service.studio.room.hold(pixels):
        return await in_thread(
            service.studio.pool,
            lambda: in_srgb(decoded_at(content, 32, FULL).photo, read_profile(content).icc_profile),
        )
