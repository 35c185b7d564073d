"""The HTTP service, in this process: what is asked, what is answered, what is refused."""

import asyncio
import base64
import io
import json
import logging
import zipfile
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import numpy as np
import pytest
from service import Brightness, client_of, picture, square_photo

from act2sal.serve.settings import Limits, Settings

PHOTO = square_photo()


def asked(
    work: Callable[[httpx.AsyncClient], Coroutine[Any, Any, Any]], settings: Settings | None = None
) -> Any:
    async def run() -> Any:
        async with client_of(settings) as client:
            return await work(client)

    return asyncio.run(run())


def posted(settings: Settings | None = None, path: str = "/v1/predict", **request: Any) -> httpx.Response:
    return asked(lambda client: client.post(path, **request), settings)


def problem(response: httpx.Response, status: int) -> str:
    assert response.headers["content-type"] == "application/problem+json"
    content = response.json()
    assert response.status_code == content["status"] == status, content
    assert response.headers["x-request-id"] == content["request_id"]
    assert "/work" not in response.text
    assert "site-packages" not in response.text
    return str(content["detail"])


def test_a_raw_photo_gives_its_map() -> None:
    response = posted(content=PHOTO, headers={"Content-Type": "image/png"})
    assert (response.status_code, response.headers["content-type"]) == (200, "image/png")
    found = picture(response.content)
    assert found.shape == (40, 60)
    assert found[5, 5] > 250 > 5 > found[35, 50]
    assert response.headers["act2sal-confidence"] == "1.0000"
    assert 0.1 < float(response.headers["act2sal-area"]) < 0.25


def test_equal_results_have_equal_tags() -> None:
    one, two = (posted(files={"photo": PHOTO}).headers["etag"] for _ in range(2))
    other = posted(files={"photo": PHOTO}, data={"kind": "mask"}).headers["etag"]
    assert one == two != other


@pytest.mark.parametrize(
    ("kind", "shape"), [("mask", (40, 60)), ("cutout", (40, 60, 4)), ("blur", (40, 60, 3))]
)
def test_kinds(kind: str, shape: tuple[int, ...]) -> None:
    assert picture(posted(files={"photo": PHOTO}, data={"kind": kind}).content).shape == shape


def test_the_threshold_cuts() -> None:
    photo = square_photo(color=100)
    low = picture(posted(files={"photo": photo}, data={"kind": "mask", "threshold": "0.2"}).content)
    high = picture(posted(files={"photo": photo}, data={"kind": "mask", "threshold": "0.8"}).content)
    assert low[5, 5] == 255
    assert not high.any()


def test_the_size_bounds_the_longest_side() -> None:
    response = posted(files={"photo": PHOTO}, data={"size": "30", "kind": "cutout"})
    assert picture(response.content).shape == (20, 30, 4)
    assert picture(posted(files={"photo": PHOTO}, data={"size": "500"}).content).shape == (40, 60)


def test_a_transparent_photo_is_resized_with_its_transparency() -> None:
    rgba = np.zeros((40, 60, 4), np.uint8)
    rgba[:20, :20] = 255
    content = io.BytesIO()
    from PIL import Image

    Image.fromarray(rgba).save(content, "PNG")
    response = posted(files={"photo": content.getvalue()}, data={"size": "30", "kind": "cutout"})
    found = picture(response.content)
    assert found.shape == (20, 30, 4)
    assert found[2, 2, 3] > 200
    assert found[15, 25, 3] == 0


def test_several_photos_and_kinds_give_a_zip() -> None:
    files = [
        ("photo", ("a/../x.png", PHOTO)),
        ("photo", ("..\\x.jpg", PHOTO)),
        ("photo", ("x.tar.png", PHOTO)),
    ]
    response = posted(files=files, data={"kind": "map,mask", "format": "webp"})
    assert response.headers["content-type"] == "application/zip"
    names = zipfile.ZipFile(io.BytesIO(response.content)).namelist()
    assert names == [f"{stem}.{kind}.webp" for stem in ("x", "x (2)", "x_tar") for kind in ("map", "mask")]


def test_json_tells_confidence_area_and_boxes() -> None:
    response = posted(files={"photo": ("cat.png", PHOTO)}, data={"answer": "json", "threshold": "0.5"})
    (one,) = response.json()["photos"]
    assert (one["name"], one["width"], one["height"], one["confidence"]) == ("cat", 60, 40, 1.0)
    assert len(one["boxes"]) == 1
    assert picture(base64.b64decode(one["results"]["map"])).shape == (40, 60)


def test_another_picture_behind_the_object() -> None:
    ground = square_photo((10, 10), color=0)
    response = posted(files={"photo": PHOTO, "background": ground}, data={"kind": "image"})
    assert picture(response.content).shape == (40, 60, 3)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"kind": "nonsense"}, "an output is"),
        ({"kind": "image:/etc/passwd"}, "takes no name"),
        ({"kind": "image"}, "needs a picture"),
        ({"kind": "color:nocolour"}, "a colour is written"),
        ({"kind": "cutout", "format": "jpg"}, "holds no transparency"),
        ({"format": "bmp"}, "format"),
        ({"threshold": "2"}, "a threshold is"),
        ({"size": "3"}, "size"),
        ({"size": "many"}, "size"),
        ({"crop": "nan"}, "crop"),
        ({"colour": "red"}, "colour: there is no such option"),
        ({"kind": ["map", "map"]}, "two outputs"),
    ],
)
def test_wrong_options(data: dict[str, Any], said: str) -> None:
    assert said in problem(posted(files={"photo": PHOTO}, data=data), 422)


@pytest.mark.parametrize(
    "content", [b"", b"no photo", PHOTO[:60], b"GIF89a", b"\xff\xd8\xff\xe0" + bytes(99)]
)
def test_what_is_no_photo(content: bytes) -> None:
    problem(posted(files={"photo": content}), 422)


def test_a_bomb_is_refused_by_its_header() -> None:
    import struct
    import zlib

    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    bomb += struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    assert "2500000000 pixels" in problem(posted(files={"photo": bomb}), 413)
    assert "2500000000 pixels" in problem(posted(files={"photo": PHOTO, "background": bomb}), 413)


def test_bodies_are_limited_told_and_untold() -> None:
    settings = Settings(limits=Limits(bytes=1000))

    async def parts() -> Any:
        for _ in range(20):
            yield bytes(100)

    headers = {"Content-Type": "image/png"}
    assert "1000 bytes" in problem(posted(settings, content=bytes(2000), headers=headers), 413)
    assert "1000 bytes" in problem(posted(settings, content=parts(), headers=headers), 413)


def test_forms_are_limited() -> None:
    many = {f"field{number}": "x" for number in range(10_000)}
    assert "form cannot be read" in problem(posted(data=many, files={"photo": PHOTO}), 400)
    problem(posted(data=many), 400)
    files = [("photo", (f"{number}.png", PHOTO)) for number in range(4)]
    assert "4 photos" in problem(posted(Settings(limits=Limits(files=3)), files=files), 413)


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{}", "application/json", 415),
        (b"x", "text/plain", 415),
        (b"x", "multipart/form-data", 400),
        (b"--x\r\nContent-Disposition: form-data; name=", "multipart/form-data; boundary=x", 422),
        (b"\x00\xff" * 50, "multipart/form-data; boundary=x", 400),
        (b"--x\r\nA\r\n\r\n--x--", "multipart/form-data; boundary=x", 400),
    ],
)
def test_bodies_of_other_kinds_and_broken_ones(content: bytes, kind: str, status: int) -> None:
    problem(posted(content=content, headers={"Content-Type": kind}), status)


def test_unknown_addresses_and_methods() -> None:
    problem(asked(lambda client: client.get("/v1/nothing")), 404)
    problem(asked(lambda client: client.get("/v1/predict")), 405)
    problem(asked(lambda client: client.get("/static/../app.py")), 404)
    problem(asked(lambda client: client.get("/static/%2e%2e/app.py")), 404)


def test_health_model_and_counts() -> None:
    async def work(client: httpx.AsyncClient) -> None:
        assert (await client.get("/v1/health")).json()["status"] == "ok"
        model = (await client.get("/v1/model")).json()
        assert (model["size"], model["confidence"], model["limits"]["bytes"]) == (64, True, 25_000_000)
        await client.post("/v1/predict", files={"photo": PHOTO})
        counts = (await client.get("/metrics")).text
        assert "act2sal_photos_total 1.0" in counts
        assert 'act2sal_requests_total{method="POST",route="/v1/predict",status="200"} 1.0' in counts

    asked(work)


def test_openapi_names_every_route() -> None:
    described = asked(lambda client: client.get("/v1/openapi.json")).json()
    assert {"/v1/predict", "/v1/removebg", "/v1/health", "/v1/model", "/metrics"} <= set(described["paths"])
    predict = described["paths"]["/v1/predict"]["post"]
    assert {"multipart/form-data", "image/jpeg"} <= set(predict["requestBody"]["content"])
    assert "example" in predict["responses"]["200"]["content"]["application/json"]


def test_headers_for_browsers() -> None:
    for path in ("/", "/v1/health", "/nothing"):
        headers = asked(lambda client, path=path: client.get(path)).headers
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


def test_request_ids_are_kept_if_they_are_plain() -> None:
    def given(text: str) -> str:
        response = asked(lambda client: client.get("/v1/health", headers={"X-Request-ID": text}))
        return str(response.headers["x-request-id"])

    assert given("abc-1") == "abc-1"
    assert given("a b") != "a b"
    assert given("x" * 65) != "x" * 65


def test_other_sites_are_kept_out() -> None:
    elsewhere = {"Origin": "https://evil.example"}
    assert "other sites" in problem(posted(files={"photo": PHOTO}, headers=elsewhere), 403)
    assert posted(files={"photo": PHOTO}, headers={"Origin": "http://localhost"}).status_code == 200
    let_in = Settings(origins=("https://evil.example",))
    response = posted(let_in, files={"photo": PHOTO}, headers=elsewhere)
    assert response.headers["access-control-allow-origin"] == "https://evil.example"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:1", 200),
        ("127.0.0.1", 200),
        ("[::1]:8000", 200),
        ("evil.example", 421),
        ("", 421),
        ("[", 421),
    ],
)
def test_names_of_loopback(host: str, status: int) -> None:
    settings = Settings(hosts=frozenset({"localhost", "127.0.0.1", "::1"}))
    response = asked(lambda client: client.get("/v1/health", headers={"Host": host}), settings)
    assert response.status_code == status


def test_the_token_is_asked_for() -> None:
    settings = Settings(token="0123456789abcdef")
    assert "token" in problem(posted(settings, files={"photo": PHOTO}), 401)
    problem(posted(settings, files={"photo": PHOTO}, headers={"Authorization": "Bearer nonsense"}), 401)
    problem(posted(settings, files={"photo": PHOTO}, headers={"Authorization": "Bearer é".encode()}), 401)
    problem(asked(lambda client: client.get("/metrics"), settings), 401)
    for headers in ({"Authorization": "Bearer 0123456789abcdef"}, {"X-Api-Key": "0123456789abcdef"}):
        assert posted(settings, files={"photo": PHOTO}, headers=headers).status_code == 200
    assert asked(lambda client: client.get("/v1/health"), settings).status_code == 200
    assert "0123456789abcdef" not in repr(settings)


def test_requests_are_logged_without_what_they_hold(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "act2sal.serve")
    posted(path="/v1/predict?kind=mask&secret=1", files={"photo": ("private.png", PHOTO)})
    row = json.loads(caplog.messages[-1])
    assert (row["route"], row["method"], row["status"]) == ("/v1/predict", "POST", 422)
    assert "private" not in caplog.text
    assert "secret" not in caplog.text


def test_photos_of_concurrent_requests_go_together() -> None:
    network = Brightness()

    async def work() -> None:
        async with client_of(network=network) as client:
            answers = await asyncio.gather(
                *(client.post("/v1/predict", files={"photo": PHOTO}) for _ in range(16))
            )
            assert {answer.status_code for answer in answers} == {200}

    asyncio.run(work())
    assert sum(network.batches) == 16
    assert max(network.batches) > 1


def test_a_full_queue_says_when_to_come_back() -> None:
    network = Brightness()

    async def work() -> None:
        async with client_of(Settings(limits=Limits(queue=2)), network) as client:
            network.gate.clear()
            held = [asyncio.create_task(client.post("/v1/predict", files={"photo": PHOTO})) for _ in range(2)]
            await asyncio.sleep(0.2)
            refused = await client.post("/v1/predict", files={"photo": PHOTO})
            assert "come back" in problem(refused, 503)
            assert refused.headers["retry-after"] == "1"
            assert (await client.get("/v1/health")).status_code == 200
            network.gate.set()
            assert [(await one).status_code for one in held] == [200, 200]

    asyncio.run(work())


def test_what_takes_too_long_ends() -> None:
    network = Brightness()

    async def work() -> None:
        async with client_of(Settings(limits=Limits(seconds=0.3)), network) as client:
            network.gate.clear()
            answer = await client.post("/v1/predict", files={"photo": PHOTO})
            network.gate.set()
            assert "longer than 0.3 seconds" in problem(answer, 503)
            assert (await client.post("/v1/predict", files={"photo": PHOTO})).status_code == 200

    asyncio.run(work())


def test_addresses_are_fetched_only_where_that_is_asked_for() -> None:
    data = {"url": "https://example.org/cat.jpg"}
    assert "--allow-url" in problem(posted(data=data), 403)
    local = Settings(allow_url=True)
    for url in (
        "http://127.0.0.1/x",
        "http://[::1]/",
        "http://169.254.169.254/",
        "file:///etc/passwd",
        "http://u@x/",
    ):
        problem(posted(local, data={"url": url}), 422)


def test_a_fault_of_ours_is_told_without_its_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise LookupError("/secret/path")

    monkeypatch.setattr("act2sal.serve.predicting.answer", fail)
    response = posted(files={"photo": PHOTO})
    assert "made a mistake" in problem(response, 500)
    assert "secret" not in response.text
