"""The body of a request: photos and fields, in memory, within the limits."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from act2sal.serve.problems import ProblemError
from act2sal.serve.settings import Limits

MOST_FIELDS = 64
"""Of a form, beside its files."""

UPLOAD_SECONDS = 30.0
"""That the body of a request may take to arrive."""

MULTIPART, URLENCODED, JSON = "multipart/form-data", "application/x-www-form-urlencoded", "application/json"
FORMS = (MULTIPART, URLENCODED)
RAW = ("image/", "application/octet-stream")
"""What the type of a body begins with that is a photo itself."""


class _InMemory(MultiPartParser):
    """Keeps every file in memory: bodies are smaller than this."""

    spool_max_size = 2**31


@dataclass
class Upload:
    """A file of a request: its name without folders, for the names of results only, and its content."""

    name: str
    content: bytes = field(repr=False)


@dataclass
class Body:
    """What came with a request: files by the names of their fields, and values of the other fields."""

    files: dict[str, list[Upload]] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)


async def read_body(request: Request, limits: Limits) -> Body:
    """The files and fields of a request; a body that is a photo itself is the file `photo`.

    Raises:
        ProblemError: too large (413), too slow (408), of another kind (415), or broken (400).
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not kind.startswith((*FORMS, *RAW)):
        raise ProblemError(415, f"send {MULTIPART}, or a photo as image/* or application/octet-stream")
    try:
        async with asyncio.timeout(min(UPLOAD_SECONDS, limits.seconds)):
            if kind in FORMS:
                return await _form(request, limits, multipart=kind == MULTIPART)
            content = b"".join([part async for part in limited(request, limits.bytes)])
    except TimeoutError as error:
        raise ProblemError(408, "the upload took too long", {"Connection": "close"}) from error
    return Body({"photo": [Upload("photo", content)]})


async def limited(request: Request, most: int) -> AsyncGenerator[bytes, None]:
    """The parts of a body.

    Raises:
        ProblemError: 413, before more than `most` bytes are held.
    """
    told = request.headers.get("content-length", "0")
    too_large = ProblemError(413, f"the body is larger than {most} bytes", {"Connection": "close"})
    if told.isdigit() and int(told) > most:
        raise too_large
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise too_large
        yield part


async def _form(request: Request, limits: Limits, *, multipart: bool) -> Body:
    stream = limited(request, limits.bytes)
    try:
        if multipart:
            parser = _InMemory(
                request.headers,
                stream,
                max_files=limits.files + 1,
                max_fields=MOST_FIELDS,
                max_part_size=limits.bytes,
            )
            form = await parser.parse()
        else:
            form = await FormParser(request.headers, stream).parse()
    except (MultiPartException, KeyError, ValueError, UnicodeError) as error:
        reason = error.message if isinstance(error, MultiPartException) else "it is no form"
        raise ProblemError(400, f"the form cannot be read: {reason}") from error
    except ClientDisconnect:
        raise
    try:
        return await _sorted(form)
    finally:
        await form.close()


async def _sorted(form: FormData) -> Body:
    body = Body()
    if len(form) > 2 * MOST_FIELDS:
        raise ProblemError(400, f"the form cannot be read: more than {MOST_FIELDS} fields")
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            body.files.setdefault(name, []).append(
                Upload(plain_name(value.filename or ""), await value.read())
            )
        elif name in body.fields:
            before = body.fields[name]
            body.fields[name] = [*(before if isinstance(before, list) else [before]), value]
        else:
            body.fields[name] = value
    return body


def plain_name(name: str) -> str:
    """The stem of a file name that a client sent, without folders and signs that mean something: never a path."""
    stem = PurePosixPath(PureWindowsPath(name).name).stem
    plain = "".join(sign if sign.isalnum() or sign in "-_ ()+" else "_" for sign in stem).strip(" .")
    return plain[:100] or "photo"
