"""Errors of the service as `application/problem+json` (RFC 9457): each names its cause, none a path of the server."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse

TITLES = {
    400: ("bad-request", "The request cannot be understood"),
    401: ("token", "A token is needed"),
    403: ("forbidden", "This is not allowed"),
    404: ("not-found", "There is no such thing here"),
    405: ("method", "This address takes another method"),
    408: ("slow-upload", "The upload took too long"),
    409: ("conflict", "The labels have changed"),
    413: ("too-large", "The upload is larger than this service takes"),
    415: ("media-type", "The body is of a kind that this service does not take"),
    421: ("host", "This service is not known by that name"),
    422: ("unusable", "The request cannot be carried out"),
    500: ("fault", "The service made a mistake"),
    503: ("busy", "The service has too much to do"),
}
"""The last part of the type, and the title, by status."""


@dataclass
class ProblemError(Exception):
    """What ends a request: its status, one line for people, and further headers and members of the answer."""

    status: int
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)
    members: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.detail

    def response(self, request_id: str) -> JSONResponse:
        """The answer.

        The member `errors` is what clients of remove.bg read.
        """
        kind, title = TITLES.get(self.status, TITLES[500])
        content = {
            "type": f"about:blank#{kind}",
            "title": title,
            "status": self.status,
            "detail": self.detail,
            "request_id": request_id,
            "errors": [{"title": self.detail, "code": kind}],
            **self.members,
        }
        return JSONResponse(
            content, self.status, headers=dict(self.headers), media_type="application/problem+json"
        )


def busy(detail: str, seconds: int = 1) -> ProblemError:
    """The client may come back after so many seconds."""
    return ProblemError(503, detail, {"Retry-After": str(seconds)})
