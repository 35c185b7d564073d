"""Bodies and answers of the routes for OpenAPI, with examples."""

from typing import Any

from act2sal.serve.wishes import MEDIA_TYPES, Wish

PROBLEM: dict[str, Any] = {
    "description": "What was wrong, in `detail`",
    "content": {
        "application/problem+json": {
            "schema": {
                "type": "object",
                "required": ["type", "title", "status", "detail", "request_id"],
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                    "request_id": {"type": "string"},
                },
            },
            "example": {
                "type": "about:blank#unusable",
                "title": "The request cannot be carried out",
                "status": 422,
                "detail": "there is no photo; send it as the file photo",
                "request_id": "b4c1",
            },
        }
    },
}

_BINARY = {"type": "string", "format": "binary"}
_OPTIONS: dict[str, dict[str, Any]] = Wish.model_json_schema()["properties"]
_PHOTO_TYPES = ("image/jpeg", "image/png", "image/webp", "application/octet-stream")
_PICTURE = {
    "description": "The results",
    "content": {kind: {"schema": _BINARY} for kind in MEDIA_TYPES.values()},
}
_PICTURE["content"] |= {
    "application/zip": {"schema": _BINARY},
    "application/json": {
        "schema": {
            "type": "object",
            "required": ["photos"],
            "properties": {"photos": {"type": "array", "items": {"type": "object"}}},
        },
        "example": {
            "photos": [
                {
                    "name": "cat",
                    "width": 640,
                    "height": 480,
                    "confidence": 0.98,
                    "area": 0.21,
                    "boxes": [[120, 80, 300, 310]],
                    "media_type": "image/png",
                    "results": {"map": "iVBORw0KGgo..."},
                }
            ]
        },
    },
}  # type: ignore[operator]

REFUSED = {str(status): PROBLEM for status in (400, 401, 403, 408, 413, 415, 421, 422, 503)}

PREDICT: dict[str, Any] = {
    "parameters": [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": schema.get("description", ""),
            "schema": {key: value for key, value in schema.items() if key not in ("description", "title")},
        }
        for name, schema in _OPTIONS.items()
    ],
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["photo"],
                    "additionalProperties": False,
                    "properties": {
                        "photo": {"type": "array", "items": _BINARY, "minItems": 1},
                        "background": _BINARY,
                        **_OPTIONS,
                    },
                }
            },
            **{kind: {"schema": _BINARY} for kind in _PHOTO_TYPES},
        },
    },
    "responses": {"200": _PICTURE, **REFUSED},
}

_REMOVEBG_FIELDS: dict[str, Any] = {
    "image_file": _BINARY,
    "image_file_b64": {"type": "string"},
    "image_url": {"type": "string"},
    "size": {"type": "string", "enum": ["preview", "small", "regular", "medium", "hd", "4k", "full", "auto"]},
    "format": {"type": "string", "enum": ["auto", "png", "jpg", "webp"]},
    "channels": {"type": "string", "enum": ["rgba", "alpha"]},
    "bg_color": {"type": "string", "example": "81d4fa"},
    "bg_image_file": _BINARY,
    "crop": {"type": "string", "enum": ["true", "false"]},
    "crop_margin": {"type": "string", "example": "10%"},
    "type": {"type": "string"},
}

REMOVEBG: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "additionalProperties": False, "properties": _REMOVEBG_FIELDS}
            }
        },
    },
    "responses": {
        "200": {
            "description": "The cut-out; JSON where the client accepts that alone",
            "content": {
                **{kind: {"schema": _BINARY} for kind in ("image/png", "image/jpeg", "image/webp")},
                "application/json": {"schema": {"type": "object"}},
            },
        },
        **REFUSED,
    },
}
