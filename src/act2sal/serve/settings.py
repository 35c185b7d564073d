"""What one service accepts and how it behaves."""

from dataclasses import dataclass, field
from pathlib import Path

from act2sal.errors import InputError


@dataclass(frozen=True)
class Limits:
    """What a service takes on before it refuses.

    Args:
        bytes: of the body of one request, which is held in memory and never written to a disk.
        pixels: of one photo, by its header.
        files: photos of one request.
        seconds: that one request may take, its upload included.
        queue: requests that are held at once; further ones are told to come back.
        held_pixels: of all photos that are decoded at once; a larger photo is held alone.
    """

    bytes: int = 25_000_000
    pixels: int = 50_000_000
    files: int = 32
    seconds: float = 60.0
    queue: int = 64
    held_pixels: int = 60_000_000

    def __post_init__(self) -> None:
        for name in ("bytes", "pixels", "files", "seconds", "queue"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} that a service takes on are more than 0, not {getattr(self, name)}")


@dataclass(frozen=True)
class Settings:
    """How one service behaves.

    Args:
        limits: what it takes on.
        hosts: names by which it may be called (header `Host`), without ports; empty: any.
        token: that every request for work has to bring; None: none.
        origins: pages of other sites that may call it from a browser (CORS).
        allow_url: whether photos are also fetched from public addresses.
        workers: threads that decode and encode; 0: one per core.
        run: run directory that the page for training shows.
        photos: folder of the photos of that run, for the review of its labels.
        review: folder into which reviewed labels are written.
    """

    limits: Limits = field(default_factory=Limits)
    hosts: frozenset[str] = frozenset()
    token: str | None = field(default=None, repr=False)
    origins: tuple[str, ...] = ()
    allow_url: bool = False
    workers: int = 0
    run: Path | None = None
    photos: Path | None = None
    review: Path | None = None
