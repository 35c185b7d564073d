"""The regions of objects as data sets have them, to train other detectors on: COCO, and YOLO for segmentation.

COCO: one file of all photos (https://cocodataset.org/#format-data, object detection). YOLO: a text file for each,
with a line `class x1 y1 x2 y2 ...` for each region, x and y as shares of width and height. There is one category,
"object".
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from act2sal.config import Annotations
from act2sal.data.images import write_atomic
from act2sal.data.origin import Origin
from act2sal.errors import InputError
from act2sal.predict.outlines import Region
from act2sal.predict.records import Facts, Record

COCO_FILE = "annotations.json"
"""In the folder of the results."""

YOLO_SUFFIX = ".txt"

YOLO_FILE = "data.yaml"
"""In the folder of the results; is written once, as paths of photos may be added to it."""

CATEGORY = "object"


def yolo_lines(facts: Facts) -> str:
    """The text file of a photo; empty where there is no object, as for a photo of background."""
    height, width = facts.size
    return "".join(_yolo_line(region, width, height) for region in facts.regions)


def _yolo_line(region: Region, width: int, height: int) -> str:
    shares = [f"{x / width:.6f} {y / height:.6f}" for x, y in region.outline.tolist()]
    return f"0 {' '.join(shares)}\n"


@dataclass(frozen=True)
class AnnotationFiles:
    """What belongs to the annotations of all photos of a run together.

    Args:
        kind: of the annotations.
        out: folder of the results.
        seen: labels that the encoders behind them were trained with (`Origin.seen`).
        earlier: of the runs before, as `coco_of` gives it; None: nothing.
    """

    kind: Annotations
    out: Path
    seen: str = ""
    earlier: Mapping[str, Any] | None = field(default=None, repr=False)

    @classmethod
    def begun(
        cls, kind: Annotations, out: Path, seen: str, *, add: bool = False, replace: bool = False
    ) -> "AnnotationFiles":
        """Look at what is in the folder.

        Args:
            kind: of the annotations.
            out: folder of the results.
            seen: as of the class.
            add: to the file of earlier runs.
            replace: the file of earlier runs.

        Raises:
            FileExistsError: there is one, and it is neither to be replaced nor to be added to.
            InputError: the file holds something else.
        """
        path = out / COCO_FILE
        if kind != "coco" or not path.exists():
            return cls(kind, out, seen)
        if not (add or replace):
            raise FileExistsError(
                f"{path} exists already; --overwrite replaces it, --skip-existing adds to it"
            )
        earlier = _read_coco(path)
        return cls(kind, out, seen, earlier if add else None)

    def write(self, records: Sequence[Record]) -> None:
        """Write the file of all photos, those of earlier runs first.

        Raises:
            OSError: it cannot be written.
        """
        origin = Origin("annotations", self.seen)
        if self.kind == "coco":
            content = json.dumps(coco_of(records, origin, self.earlier)) + "\n"
            write_atomic(self.out / COCO_FILE, content.encode())
        elif not (self.out / YOLO_FILE).exists():
            content = f"# {origin.text}\nnames:\n  0: {CATEGORY}\n"
            write_atomic(self.out / YOLO_FILE, content.encode())


def coco_of(
    records: Sequence[Record], origin: Origin, earlier: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A data set of COCO.

    An image is named by its path below the folder that was searched. Each region is an annotation with one polygon,
    where the first pixel of the photo reaches from 0 to 1, its box [left, top, width, height], its pixels as area,
    and its mean saliency as score.

    Args:
        records: of photos that were annotated.
        origin: what made them.
        earlier: a data set of this kind, from which the images that have no new record are kept.
    """
    found = _by_name(earlier or {}) | {
        record.task.photo.relative.as_posix(): (
            record.facts.size,
            [_coco_annotation(region) for region in record.facts.regions],
        )
        for record in records
    }
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (name, ((height, width), regions)) in enumerate(found.items(), 1):
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        for region in regions:
            annotations.append({**region, "id": len(annotations) + 1, "image_id": number})
    return {
        "info": {"description": origin.text},
        "licenses": [],
        "categories": [{"id": 1, "name": CATEGORY, "supercategory": CATEGORY}],
        "images": images,
        "annotations": annotations,
    }


def _coco_annotation(region: Region) -> dict[str, Any]:
    return {
        "category_id": 1,
        "segmentation": [region.outline.ravel().tolist()],
        "bbox": list(region.box),
        "area": region.pixels,
        "iscrowd": 0,
        "score": round(region.score, 4),
    }


def _by_name(dataset: Mapping[str, Any]) -> dict[str, tuple[tuple[int, int], list[dict[str, Any]]]]:
    """Of each image, by its name: height and width, and its annotations."""
    regions: dict[int, list[dict[str, Any]]] = {}
    for one in dataset.get("annotations", ()):
        regions.setdefault(one["image_id"], []).append(one)
    return {
        image["file_name"]: ((image["height"], image["width"]), regions.get(image["id"], []))
        for image in dataset.get("images", ())
    }


def _read_coco(path: Path) -> dict[str, Any]:
    """The data set of earlier runs.

    Raises:
        InputError: the file holds something else, and is not to be replaced.
    """
    try:
        content = json.loads(path.read_bytes())
        if not content["info"]["description"].startswith("act2sal "):
            raise ValueError("another program's annotations")
        _by_name(content)
        return dict(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: holds something else than annotations of act2sal predict") from error
