"""The results of a request as its answer: a picture, a ZIP file or JSON."""

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from act2sal.predict.rendering import Rendered, Rendering
from act2sal.serve.wishes import MEDIA_TYPES


def answer(names: Sequence[str], results: Sequence[Rendered], rendering: Rendering, how: str) -> Response:
    """The answer to a request.

    Args:
        names: of the photos, without suffixes.
        results: of the photos.
        rendering: what they are.
        how: auto, zip or json.
    """
    if how == "json":
        content = json.dumps(
            {"photos": [_as_json(*one, rendering) for one in zip(names, results, strict=True)]}
        )
        return _tagged(content.encode(), "application/json")
    if how == "zip" or len(results) > 1 or len(rendering.kinds) > 1:
        return _tagged(zipped(names, results, rendering), "application/zip", _attached("act2sal.zip"))
    facts = results[0].facts
    headers = {"Act2sal-Area": f"{facts.area:.4f}", "Act2sal-Size": f"{facts.size[1]}x{facts.size[0]}"}
    if facts.confidence is not None:
        headers["Act2sal-Confidence"] = f"{facts.confidence:.4f}"
    return _tagged(results[0].files[0], MEDIA_TYPES[rendering.format], headers)


def zipped(names: Sequence[str], results: Sequence[Rendered], rendering: Rendering) -> bytes:
    """A ZIP file of all results; photos of the same name get numbers. Pictures are compressed already."""
    buffer, used = io.BytesIO(), set[str]()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, result in zip(names, results, strict=True):
            unique = _unused(name, used)
            for suffix, content in zip(rendering.suffixes, result.files, strict=True):
                archive.writestr(zipfile.ZipInfo(unique + suffix), content)
    return buffer.getvalue()


def _unused(name: str, used: set[str]) -> str:
    unique, number = name, 2
    while unique.casefold() in used:
        unique, number = f"{name} ({number})", number + 1
    used.add(unique.casefold())
    return unique


def _as_json(name: str, result: Rendered, rendering: Rendering) -> dict[str, Any]:
    height, width = result.facts.size
    results = {
        kind.name: base64.b64encode(content).decode()
        for kind, content in zip(rendering.kinds, result.files, strict=True)
    }
    return {
        "name": name,
        "width": width,
        "height": height,
        **result.facts.as_json(),
        "media_type": MEDIA_TYPES[rendering.format],
        "results": results,
    }


def _attached(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


def _tagged(content: bytes, media_type: str, headers: dict[str, str] | None = None) -> Response:
    tag = f'"{hashlib.blake2b(content, digest_size=16).hexdigest()}"'
    return Response(content, media_type=media_type, headers={"ETag": tag, **(headers or {})})
