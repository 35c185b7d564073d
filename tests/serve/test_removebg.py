"""What clients of remove.bg send and read."""

import base64
from typing import Any

import pytest
from service import picture, square_photo
from test_api import posted, problem

from act2sal.serve.settings import Settings

PHOTO = square_photo((600, 900))


def removed(**request: Any) -> Any:
    return posted(path="/v1.0/removebg", **request)


def test_a_cutout_with_the_headers_of_the_api() -> None:
    response = removed(files={"image_file": PHOTO}, data={"size": "auto"}, headers={"X-Api-Key": "any"})
    assert response.status_code == 200, response.text
    assert picture(response.content).shape == (600, 900, 4)
    assert (response.headers["x-width"], response.headers["x-height"]) == ("900", "600")
    assert response.headers["x-credits-charged"] == "0"


def test_the_preview_has_a_quarter_of_a_megapixel() -> None:
    height, width, _ = picture(removed(files={"image_file": PHOTO}, data={"size": "preview"}).content).shape
    assert height * width == pytest.approx(250_000, rel=0.01)


def test_a_ground_of_one_colour_is_a_jpeg() -> None:
    response = removed(files={"image_file": PHOTO}, data={"bg_color": "00ff00"})
    assert response.headers["content-type"] == "image/jpeg"
    assert picture(response.content)[550, 850].tolist() == pytest.approx([0, 255, 0], abs=12)


def test_json_in_and_out() -> None:
    sent = {"image_file_b64": base64.b64encode(PHOTO).decode(), "crop": True, "crop_margin": "0%"}
    response = removed(json=sent, headers={"Accept": "application/json"})
    found = picture(base64.b64decode(response.json()["data"]["result_b64"]))
    assert found.shape[0] == pytest.approx(300, abs=30)
    assert found.shape[1] == pytest.approx(300, abs=30)
    assert int(response.headers["x-width"]) == found.shape[1]


def test_the_alpha_alone() -> None:
    assert picture(removed(files={"image_file": PHOTO}, data={"channels": "alpha"}).content).ndim == 2


@pytest.mark.parametrize(
    "data",
    [
        {"roi": "10% 10% 50% 50%"},
        {"add_shadow": "true"},
        {"size": "huge"},
        {"format": "zip"},
        {"format": "jpg"},
        {"crop": "true", "crop_margin": "10px"},
        {"bg_color": "81d4fa77"},
        {"nonsense": "1"},
    ],
)
def test_what_is_not_there_is_refused(data: dict[str, str]) -> None:
    problem(removed(files={"image_file": PHOTO}, data=data), 400)


def test_errors_as_clients_read_them() -> None:
    dark = square_photo(color=0)
    assert removed(files={"image_file": dark}).json()["errors"][0]["code"] == "unknown_foreground"
    problem(removed(data={"size": "auto"}), 400)
    problem(removed(json={"image_file_b64": "%%%"}), 400)
    problem(removed(json=[1]), 400)
    problem(removed(json={"image_url": "http://example.org/x"}), 403)
    problem(
        posted(Settings(token="0123456789abcdef"), path="/v1.0/removebg", files={"image_file": PHOTO}), 401
    )
