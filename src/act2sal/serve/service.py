"""What the routes of one service share."""

from concurrent.futures import ThreadPoolExecutor

from act2sal.predict.detector import Detector
from act2sal.serve.metrics import Metrics
from act2sal.serve.review import Review
from act2sal.serve.settings import Limits, Settings
from act2sal.serve.studio import Studio

FETCHERS = 4
"""Photos that are fetched from their addresses at once."""


class Service:
    """A detector at work for requests.

    Args:
        detector: makes the maps.
        settings: how it behaves.
    """

    def __init__(self, detector: Detector, settings: Settings) -> None:
        self.detector, self.settings, self.metrics = detector, settings, Metrics()
        self.studio = Studio(
            detector, settings.limits, workers=settings.workers, on_batch=self.metrics.batches.observe
        )
        self.review = _review_of(settings)
        self.fetchers = ThreadPoolExecutor(FETCHERS, thread_name_prefix="fetch")

    @property
    def limits(self) -> Limits:
        """What it takes on."""
        return self.settings.limits

    def close(self) -> None:
        """Stop its threads."""
        self.studio.close()
        if self.review is not None:
            self.review.close()
        self.fetchers.shutdown(wait=False, cancel_futures=True)


def _review_of(settings: Settings) -> Review | None:
    if settings.run is None or settings.photos is None or settings.review is None:
        return None
    return Review(settings.run / "labels", settings.photos, settings.review)
