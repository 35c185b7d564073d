"""Which photos of a watched folder are done, and when."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from act2sal.data.photo_files import DatasetError, Photo
from act2sal.predict.plan import Task
from act2sal.predict.watch import arrivals


class Folder:
    """A folder in which something happens between two looks."""

    def __init__(self, path: Path, *events: dict[str, bytes]) -> None:
        self.path, self.events = path, list(events)

    def plan(self) -> list[Task]:
        photos = sorted(self.path.glob("*.jpg"))
        if not photos:
            raise DatasetError("no photos")
        return [Task(Photo(photo, Path(photo.name)), ()) for photo in photos]

    def sleep(self, seconds: float) -> None:
        if not self.events:
            raise KeyboardInterrupt
        for name, content in self.events.pop(0).items():
            (self.path / name).write_bytes(content)
            os.utime(self.path / name, ns=(len(self.events), len(self.events)))

    def given(self) -> list[list[str]]:
        """Names of the photos that are given, until the events are over."""
        found: list[list[str]] = []
        looks: Iterator[list[Task]] = arrivals(self.plan, sleep=self.sleep)
        try:
            for tasks in islice(looks, 100):
                found.append([task.photo.path.name for task in tasks])
        except KeyboardInterrupt:
            return found
        raise AssertionError("the events were never over")


def test_a_photo_is_given_once_when_it_no_longer_grows(tmp_path: Path) -> None:
    folder = Folder(tmp_path, {"a.jpg": b"1"}, {"a.jpg": b"12"}, {"b.jpg": b"1"}, {}, {}, {})
    assert folder.given() == [["a.jpg"], ["b.jpg"]]


def test_a_photo_that_changes_is_given_again(tmp_path: Path) -> None:
    folder = Folder(tmp_path, {"a.jpg": b"1"}, {}, {}, {"a.jpg": b"2"}, {}, {})
    assert folder.given() == [["a.jpg"], ["a.jpg"]]


def test_photos_that_are_there_from_the_beginning_come_together(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"1")
    assert Folder(tmp_path, {}, {}).given() == [["a.jpg", "b.jpg"]]


def test_an_empty_folder_is_waited_for(tmp_path: Path) -> None:
    assert Folder(tmp_path, {}, {}, {}).given() == []
