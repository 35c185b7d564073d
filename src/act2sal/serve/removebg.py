"""`POST /v1/removebg`: the part of remove.bg's API (v1.0) that its clients use, so that they work with this service.

Options that would change the picture and are not there are refused, and never passed over.
"""

import base64
import binascii
import json
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from act2sal.config import Format
from act2sal.errors import InputError
from act2sal.predict.cropping import MOST_MARGIN
from act2sal.predict.output_kinds import Kind, parse_kind
from act2sal.predict.rendering import Rendered, Rendering
from act2sal.serve.connection import while_connected
from act2sal.serve.descriptions import REMOVEBG
from act2sal.serve.predicting import content_at, picture_of
from act2sal.serve.problems import ProblemError
from act2sal.serve.service import Service
from act2sal.serve.studio import FULL, Size
from act2sal.serve.uploads import JSON, Body, limited, read_body
from act2sal.serve.wishes import MEDIA_TYPES

SIZES: dict[str, Size] = {
    "preview": Size(area=250_000),
    "small": Size(area=250_000),
    "regular": Size(area=250_000),
    "medium": Size(area=1_500_000),
    "hd": Size(area=4_000_000),
    "4k": Size(area=10_000_000),
    "full": FULL,
    "auto": FULL,
}
"""Pixels of a result, as remove.bg's documentation has them."""

IGNORED = {"type", "type_level"}
"""Hints at what is in the photo, which this detector does not need."""

DEFAULTS = {
    "roi": ("", "0% 0% 100% 100%"),
    "scale": ("", "original"),
    "position": ("", "original"),
    "add_shadow": ("", "false"),
    "semitransparency": ("", "true", "false"),
    "shadow_type": ("", "none"),
    "bg_image_url": ("",),
}
"""Options that are not there, and the values that ask for nothing."""

TAKEN = {"size", "format", "channels", "bg_color", "crop", "crop_margin"}
SOURCES = {"image_file_b64", "image_url"}


def removebg_router(service: Service) -> APIRouter:
    """The routes of one service: the path of this package, and that of remove.bg."""
    router = APIRouter()

    @router.post("/v1/removebg", openapi_extra=REMOVEBG, response_class=Response)
    async def removebg(request: Request) -> Response:
        """Cut the salient object out, by the fields that clients of remove.bg send."""
        body = await _body(request, service)
        work = _answered(service, body, as_json=_wants_json(request))
        return await while_connected(request, work, service.limits.seconds)

    router.add_api_route("/v1.0/removebg", removebg, methods=["POST"], include_in_schema=False)
    return router


async def _body(request: Request, service: Service) -> Body:
    if not request.headers.get("content-type", "").startswith(JSON):
        return await read_body(request, service.limits)
    content = b"".join([part async for part in limited(request, service.limits.bytes)])
    try:
        fields = json.loads(content)
    except ValueError as error:
        raise ProblemError(400, "the body is no JSON") from error
    if not isinstance(fields, dict):
        raise ProblemError(400, "the body is no JSON object")
    return Body(fields={str(name): _text(value) for name, value in fields.items() if value is not None})


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _wants_json(request: Request) -> bool:
    return request.headers.get("accept", "").partition(";")[0].strip() == JSON


async def _answered(service: Service, body: Body, *, as_json: bool) -> Response:
    for name, value in body.fields.items():
        _refuse_option(name, value)
    content = await _content(service, body)
    size = SIZES.get(body.fields.get("size") or "auto")
    if size is None:
        raise ProblemError(400, f"size is one of {', '.join(SIZES)}")
    ground = _ground(body.fields.get("bg_color", ""), await picture_of(service, body, "bg_image_file"))
    rendering = _rendering(body.fields, ground)
    rendered = await service.studio.rendered(content, rendering, size)
    service.metrics.photos.inc()
    if rendered.facts.area == 0:
        raise ProblemError(400, "nothing salient was found", members={"errors": [_UNKNOWN]})
    return _answer(rendered, rendering, as_json=as_json)


_UNKNOWN = {"title": "Could not identify foreground in image.", "code": "unknown_foreground"}


def _refuse_option(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise ProblemError(400, f"{name[:40]} is given twice")
    if name in DEFAULTS and value not in DEFAULTS[name]:
        raise ProblemError(400, f"{name} is not there in this service")
    if name not in TAKEN | SOURCES | IGNORED | set(DEFAULTS):
        raise ProblemError(400, f"there is no option {name[:40]}")


async def _content(service: Service, body: Body) -> bytes:
    files = body.files.get("image_file", []) + body.files.get("photo", [])
    coded, url = body.fields.get("image_file_b64"), body.fields.get("image_url")
    if len(files) + bool(coded) + bool(url) != 1:
        raise ProblemError(400, "send one of image_file, image_file_b64 and image_url")
    if files:
        return files[0].content
    if url:
        return await content_at(service, url)
    try:
        return base64.b64decode(str(coded).partition("base64,")[2] or str(coded), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProblemError(400, "image_file_b64 is no base64") from error


def _ground(color: str, picture: Any) -> Kind:
    if color and picture is not None:
        raise ProblemError(400, "send one of bg_color and bg_image_file")
    if picture is not None:
        return Kind("image", picture=picture)
    if not color:
        return Kind("cutout")
    bare = color.removeprefix("#")
    is_hex = len(bare) in (3, 6) and all(sign in "0123456789abcdefABCDEF" for sign in bare)
    try:
        return parse_kind(f"color:{'#' if is_hex else ''}{bare}")
    except InputError as error:
        raise ProblemError(400, "bg_color is a name, or three or six hexadecimal digits") from error


def _rendering(fields: dict[str, Any], ground: Kind) -> Rendering:
    kind = ground
    if fields.get("channels", "rgba") == "alpha":
        kind = Kind("map")
    elif fields.get("channels", "rgba") != "rgba":
        raise ProblemError(400, "channels is rgba or alpha")
    crop = _margin(fields.get("crop_margin") or "0%") if fields.get("crop") in ("true", "True", "1") else None
    return Rendering(kinds=(kind,), format=_format(fields.get("format") or "auto", kind), crop=crop)


def _format(text: str, kind: Kind) -> Format:
    possible: dict[str, Format] = {
        "auto": "png" if kind.has_alpha or not kind.shows_photo else "jpg",
        "png": "png",
        "webp": "webp",
        "jpg": "jpg",
    }
    if text not in possible:
        raise ProblemError(400, f"format is one of {', '.join(possible)}")
    if possible[text] == "jpg" and kind.has_alpha:
        raise ProblemError(400, "jpg holds no transparency; send bg_color, or format png")
    return possible[text]


def _margin(text: str) -> float:
    number = text.removesuffix("%")
    if text.endswith("%") and number.replace(".", "", 1).isdecimal():
        margin = float(number) / 100
        if margin <= MOST_MARGIN:
            return margin
    raise ProblemError(400, "crop_margin is a share in percent, such as 10%")


def _answer(rendered: Rendered, rendering: Rendering, *, as_json: bool) -> Response:
    part = rendered.facts.crop
    width, height = part[2:] if part else (rendered.facts.size[1], rendered.facts.size[0])
    headers = {
        "X-Width": str(width),
        "X-Height": str(height),
        "X-Type": "other",
        "X-Credits-Charged": "0",
    }
    content = rendered.files[0]
    if as_json:
        return JSONResponse({"data": {"result_b64": base64.b64encode(content).decode()}}, headers=headers)
    return Response(content, media_type=MEDIA_TYPES[rendering.format], headers=headers)
