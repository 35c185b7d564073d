"""The commands of the guide work as they stand there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from test_readme import recipe_module

DOCS = Path(__file__).resolve().parent.parent / "docs"
GUIDE = (DOCS / "guide.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the guide is followed from beginning to end."""
    here = tmp_path_factory.mktemp("guide")
    shutil.copytree(scenes / "photos", here / "photos")
    shutil.copytree(scenes / "masks", here / "masks")
    shutil.copy(next(iter(sorted((scenes / "photos").iterdir()))), here / "photo.jpg")
    return here


def test_the_guide_has_commands() -> None:
    assert len(BLOCKS) >= 10
    assert {"predict", "train", "evaluate", "compare", "export"} <= set(
        re.findall(r"^act2sal (\w+)", GUIDE, re.MULTILINE)
    )


def test_every_block_of_the_guide_works(folder: Path) -> None:
    """In their order, since later ones use what earlier ones made."""
    for language, block in BLOCKS:
        commands = [block] if language == "python" else block.splitlines()
        for command in commands:
            done = run(language, command, folder)
            assert done.returncode == 0, f"{command}\n{done.stderr}"


def run(language: str, text: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """One command of a shell, with the act2sal of these tests, or one Python program."""
    if language == "python":
        command = [sys.executable, "-c", text]
    else:
        assert text.startswith("act2sal ")
        command = ["sh", "-c", f'"{sys.executable}" -m act2sal.cli {text.removeprefix("act2sal ")}']
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_page_of_presets_is_current() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import make_presets; print(make_presets.page(), end='')"],
        cwd=DOCS,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (DOCS / "presets.md").read_text(encoding="utf-8") == done.stdout


def test_the_pages_of_measurements_are_current() -> None:
    pages = recipe_module("make_pages", "docs").pages()
    assert len(pages) == 5
    for name, text in pages.items():
        assert (DOCS / name).read_text(encoding="utf-8") == text, f"{name}: run python docs/make_pages.py"


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert page.parent.name == "templates" or (page.parent / target).exists(), target


def test_the_site_names_every_page() -> None:
    listed = set(re.findall(r"[\w/-]+\.md", (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")))
    there = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert listed == {name for name in there if not name.startswith("templates/")}


@pytest.mark.parametrize("name", ["levers", "levers_400"])
def test_the_tables_of_what_was_tried_are_those_of_the_results(name: str) -> None:
    recipes = DOCS.parent / "recipes"
    command = [
        sys.executable,
        recipes / "levers.py",
        "--table",
        "--out",
        recipes / "results" / f"{name}.json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line for line in done.stdout.splitlines() if line]
    assert len(rows) > 10
    page = (DOCS / "what-was-tried.md").read_text(encoding="utf-8")
    assert done.stdout.strip() in page
