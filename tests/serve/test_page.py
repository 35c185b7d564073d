"""The pages, driven in a real browser.

Skipped without Chromium, unless ACT2SAL_BROWSER=required is set, and where it is none.
"""

import os
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from service import served, square_photo

pytestmark = pytest.mark.browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def unexpected(message) -> bool:
    """An error that is not the service's answer to the broken photo, or to a wrong token."""
    return message.type == "error" and not any(status in message.text for status in ("401", "422"))


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the review."""
    return tmp_path_factory.mktemp("review")


@pytest.fixture(scope="module")
def address(trained: Path, scenes: Path, reviewed: Path) -> Iterator[str]:
    options = ["--run", trained, "--photos", scenes / "photos", "--review", reviewed]
    with served("--quiet", *options) as (found, _):
        yield found


@contextmanager
def opened(address: str) -> Iterator[object]:
    """The page of an address in a browser, which must not report errors."""
    asked = os.environ.get("ACT2SAL_BROWSER")
    if CHROMIUM is None or asked == "none":
        assert asked != "required", "there is no Chromium"
        pytest.skip("no Chromium that runs on this machine: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        page = browser.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if unexpected(message) else None)
        page.goto(address)
        yield page
        browser.close()
        assert errors == []


@pytest.fixture
def page(address: str) -> Iterator[object]:
    with opened(address) as page:
        yield page


@pytest.fixture
def photos(tmp_path: Path, scenes: Path) -> list[Path]:
    (tmp_path / "again").mkdir()
    first = sorted((scenes / "photos").iterdir())[0]
    second = tmp_path / "again" / first.name
    second.write_bytes(first.read_bytes())
    (tmp_path / "broken.png").write_bytes(b"no photo")
    (tmp_path / "square.png").write_bytes(square_photo((200, 300)))
    return [first, second, tmp_path / "broken.png", tmp_path / "square.png"]


def pixels(page) -> list[int]:
    return page.evaluate(
        "(() => { const c = document.getElementById('canvas');"
        "return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data] })()"
    )


def upload(page, photos: list[Path]) -> None:
    page.set_input_files("#files", photos)
    from playwright.sync_api import expect

    expect(page.locator("#status")).to_have_text("3 of 4 done, 1 failed", timeout=30_000)
    expect(page.locator("#facts")).not_to_be_empty()


def eventually(page, holds: Callable[[], bool]) -> None:
    """Wait, up to a minute, until the page shows something; it paints when it comes to it."""
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        page.wait_for_timeout(100)


def settled(page) -> list[int]:
    """The pixels once the photo is decoded and nothing changes any more."""
    shown: list[int] = []
    for _ in range(40):
        before, shown = shown, pixels(page)
        if shown == before:
            return shown
        page.wait_for_timeout(500)
    raise AssertionError("the picture keeps changing")


def test_photos_sliders_and_kinds(page, photos: list[Path]) -> None:
    upload(page, photos)
    assert "not an image" in page.text_content("#list")
    assert "Confidence" in page.text_content("#facts")
    page.click("#list li:first-child button")  # shown first is what the service did first, perhaps the square
    page.wait_for_selector("#list li:first-child button[aria-current=true]")
    cut = settled(page)
    assert min(cut[3::4]) < 20 < 235 < max(cut[3::4])
    page.check("input[value=mask]")
    eventually(page, lambda: set(pixels(page)[0::4]) <= {0, 255})
    mask = pixels(page)
    page.fill("#threshold", "100")
    eventually(page, lambda: set(pixels(page)[0::4]) == {0})
    page.fill("#threshold", "0")
    eventually(page, lambda: sum(pixels(page)[0::4]) >= sum(mask[0::4]))
    page.fill("#before", "100")
    eventually(page, lambda: len(set(pixels(page)[0::4])) > 5)


def test_keys(page, photos: list[Path]) -> None:
    upload(page, photos)
    page.keyboard.press("2")
    assert page.is_checked("input[value=map]")
    page.click("#list li:first-child button")
    page.keyboard.press("j")
    page.wait_for_selector("#list li:nth-child(2) button[aria-current=true]")
    shown = settled(page)
    page.keyboard.down("b")
    eventually(page, lambda: pixels(page) != shown)
    page.keyboard.up("b")
    eventually(page, lambda: pixels(page) == shown)


def test_one_and_all_are_downloaded(page, photos: list[Path], tmp_path: Path) -> None:
    upload(page, photos)
    with page.expect_download() as one:
        page.click("#save")
    assert one.value.suggested_filename.endswith(".cutout.png")
    with page.expect_download() as every:
        page.click("#save-all")
    every.value.save_as(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert archive.testzip() is None
        names = archive.namelist()
    assert len(names) == len(set(names)) == 3
    assert "square.cutout.png" in names


def test_everything_has_a_name_and_fits_a_phone(page, photos: list[Path]) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    upload(page, photos)
    assert page.evaluate("document.documentElement.scrollWidth <= 360")
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, input:not([hidden]), canvas')].filter(one =>"
        "!(one.textContent.trim() || one.labels?.length || one.getAttribute('aria-label'))).length"
    )
    assert nameless == 0


def test_the_run_and_the_review_of_its_labels(page, reviewed: Path) -> None:
    from playwright.sync_api import expect

    page.click("#to-training")
    expect(page.locator("#state")).to_contain_text("Finished; the last was stage2, epoch 3")
    expect(page.locator("#samples img[data-name=label]")).to_have_count(6)
    expect(page.locator("#gallery button")).to_have_count(6)
    expect(page.locator("#label-name")).to_contain_text("open")
    name = page.text_content("#label-name").partition(":")[0]
    page.keyboard.press("r")
    expect(page.locator("#gallery button").first).to_contain_text("reject")
    assert not (reviewed / "photos" / name).exists()
    second = page.locator("#gallery button").nth(1)
    second.click()
    expect(second).to_have_attribute("aria-current", "true")
    page.wait_for_timeout(500)  # the label is decoded
    box = page.locator("#label").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 5, box["y"] + box["height"] - 5, steps=5)
    page.mouse.up()
    page.click("#paint")
    expect(second).to_contain_text("painted")
    assert "painted" in (reviewed / "decisions.json").read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    for text, ground in (
        ("--text", "--ground"),
        ("--quiet", "--panel"),
        ("--on-accent", "--accent"),
        ("--bad", "--panel"),
    ):
        shades = page.evaluate(
            "([a, b]) => [a, b].map(name => { const s = document.createElement('span');"
            "s.style.color = `var(${name})`; document.body.append(s);"
            "return getComputedStyle(s).color.match(/[\\d.]+/g).slice(0, 3).map(Number) })",
            [text, ground],
        )
        assert contrast(*shades) >= 4.5, (text, ground)


def contrast(one: list[float], two: list[float]) -> float:
    """WCAG 2.2, contrast ratio."""

    def luminance(rgb: list[float]) -> float:
        linear = [v / 255 / 12.92 if v / 255 <= 0.04045 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in rgb]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((luminance(one), luminance(two)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_a_page_of_a_service_with_a_token_asks_for_it(photos: list[Path], tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret-of-sixteen-letters\n")
    with served("--quiet", "--token-file", token) as (address, _), opened(address) as page:
        from playwright.sync_api import expect

        page.set_input_files("#files", [photos[3]])
        page.fill("#ask #token", "wrong")
        page.press("#ask #token", "Enter")
        token_field = page.locator("#ask #token")
        expect(token_field).to_have_value("")  # that of a new dialog: the old one holds the wrong token
        expect(token_field).to_be_focused()
        token_field.fill("secret-of-sixteen-letters")
        page.click("#ask button")
        expect(page.locator("#status")).to_have_text("1 of 1 done", timeout=30_000)
        expect(page.locator("#ask")).to_have_count(0)


@pytest.mark.parametrize("where", ["", "training"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_are_accessible(page, photos: list[Path], where: str, scheme: str) -> None:
    """By the rules of axe-core, with photos in the list and results shown."""
    from axe_playwright_python.sync_playwright import Axe

    page.emulate_media(color_scheme=scheme)
    if where:
        page.goto(page.url + where)
        page.wait_for_timeout(1000)
    else:
        upload(page, photos)
    found = Axe().run(page)
    assert len(found.response["passes"]) > 10, "the rules were tried"
    assert found.violations_count == 0, found.generate_report()
