"""Make the pictures of the pages in serve.md with Chromium: python docs/make_screenshots.py

serve.webp: the page for photos, with photographs of scikit-image. training.webp: the page of a training and the
review of its labels, of a short one that is made for it.
"""

import io
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from act2sal.scenes import write_demo_photos

FOLDER = Path(__file__).parent
SIZE = {"width": 1200, "height": 760}
QUALITY = 82
TRAINING = "--size 160 --stage1.epochs 2 --stage1.rounds 1 --stage1.round-epochs 2 --stage2.epochs 3 --quiet"


def main() -> None:
    """Write both pictures beside this file."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("no Chromium on this machine")
    with tempfile.TemporaryDirectory() as folder:
        photos, run = Path(folder) / "photos", Path(folder) / "run"
        files = write_demo_photos(photos)
        act2sal = [sys.executable, "-m", "act2sal"]
        subprocess.run([*act2sal, "train", str(photos), "--out", str(run), *TRAINING.split()], check=True)
        command = [*act2sal, "serve", "--port", "0", "--quiet", "--run", str(run), "--photos", str(photos)]
        with served(command) as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport=SIZE)  # type: ignore[arg-type]
            page.goto(address)
            page.set_input_files("#files", [str(path) for path in files])
            expect(page.locator("#status")).to_contain_text(f"{len(files)} done", timeout=60_000)
            page.click("#list li:nth-child(2) button")
            page.wait_for_timeout(1000)
            write(page, FOLDER / "serve.webp")
            page.goto(f"{address}/training")
            page.wait_for_timeout(2000)
            write(page, FOLDER / "training.webp")
            browser.close()


@contextmanager
def served(command: list[str]) -> Iterator[str]:
    """The address of a service while it runs."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield next(found[0] for line in process.stdout if (found := re.search(r"http://[\d.]+:\d+", line)))
    finally:
        process.terminate()
        process.wait()


def write(page: Page, path: Path) -> None:
    """Write what the page shows as WebP."""
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        picture.save(path, quality=QUALITY, method=6)


if __name__ == "__main__":
    main()
