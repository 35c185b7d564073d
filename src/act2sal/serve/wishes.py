"""What a request asks for: its options, checked, as a `Rendering`."""

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from act2sal.config import Format
from act2sal.errors import InputError
from act2sal.predict.cropping import MOST_MARGIN
from act2sal.predict.output_kinds import Kind, parse_kind, refuse_kinds
from act2sal.predict.rendering import Rendering
from act2sal.predict.selection import Selection
from act2sal.predict.thresholds import parse_threshold
from act2sal.serve.problems import ProblemError

BACKGROUND = "image"
"""The kind whose picture is the file `background` of the request: names of files mean nothing here."""

MEDIA_TYPES: dict[str, str] = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "webp": "image/webp",
    "tiff": "image/tiff",
    "gif": "image/gif",
}


def _words(value: Any) -> Any:
    """`map,mask` and repeated fields are a list."""
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        return given
    return [word for one in given for word in one.split(",")]


class Wish(BaseModel):
    """The options of `POST /v1/predict`, in the query or as fields of the form."""

    model_config = ConfigDict(extra="forbid")

    kind: Annotated[list[str], BeforeValidator(_words)] = Field(
        ["map"],
        min_length=1,
        max_length=7,
        description="map, mask, cutout, overlay, blur, color:#rrggbb, or image with a file `background`; several "
        "with commas between them, or repeated.",
        examples=[["map"], ["cutout"], ["mask", "color:#ffffff"]],
    )
    format: Format = Field("png", description="Of the results; jpg holds no cut-out.")
    threshold: str | None = Field(
        None,
        max_length=20,
        description="otsu, adaptive or a number in [0, 1]; without it the saliency stays soft, and a mask is cut at "
        "0.5.",
        examples=["0.5"],
    )
    size: int | None = Field(
        None,
        ge=16,
        le=20_000,
        description="Longest side of the results, in pixels; smaller photos keep theirs.",
    )
    crop: float | None = Field(
        None,
        ge=0,
        le=MOST_MARGIN,
        description="Crop to the object, with this margin as a share of its longer side.",
    )
    answer: Literal["auto", "zip", "json"] = Field(
        "auto",
        description="auto: the picture itself, a ZIP file where there are several. json: pictures in base64, with "
        "confidence, area and boxes.",
    )

    @classmethod
    def of(cls, fields: dict[str, Any]) -> "Wish":
        """Check the options of a request.

        Raises:
            ProblemError: 422, naming the first option that is wrong.
        """
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            name = str(first["loc"][0]) if first["loc"] else "request"
            unknown = first["type"] == "extra_forbidden"
            said = "there is no such option" if unknown else first["msg"].lower()
            raise ProblemError(422, f"{name[:40]}: {said}") from error

    def rendering(self, background: NDArray[np.uint8] | None = None) -> Rendering:
        """What these options ask for.

        Args:
            background: of the kind `image`, (H, W, 3) uint8 sRGB.

        Raises:
            ProblemError: 422, as words mean nothing or contradict each other.
        """
        try:
            kinds = tuple(_kind(word, background) for word in self.kind)
            refuse_kinds(kinds, self.format)
            threshold = None if self.threshold is None else parse_threshold(self.threshold)
            return Rendering(
                kinds=kinds, format=self.format, selection=Selection(threshold), crop=self.crop, rates=True
            )
        except InputError as error:
            raise ProblemError(422, str(error)) from error


def _kind(word: str, background: NDArray[np.uint8] | None) -> Kind:
    if word == BACKGROUND:
        if background is None:
            raise ProblemError(422, "the kind image needs a picture, in the file `background`")
        return Kind("image", picture=background)
    if word.startswith(f"{BACKGROUND}:"):
        raise ProblemError(422, "the kind image takes no name; send the picture as the file `background`")
    return parse_kind(word)
