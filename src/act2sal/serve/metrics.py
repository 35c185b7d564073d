"""What the service counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from act2sal.predict.detector import BATCH


class Metrics:
    """The counters of one service, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        of_route = ("method", "route", "status")
        self.requests = Counter(
            "act2sal_requests", "Requests that were answered", of_route, registry=self.registry
        )
        self.seconds = Histogram(
            "act2sal_request_seconds",
            "From the first byte of a request to the last of its answer",
            ("route",),
            registry=self.registry,
        )
        self.photos = Counter("act2sal_photos", "Photos whose results were made", registry=self.registry)
        self.batches = Histogram(
            "act2sal_batch_photos",
            "Photos that went through the network together",
            buckets=range(1, BATCH + 1),
            registry=self.registry,
        )
        self.held = Gauge("act2sal_requests_held", "Requests that are held at once", registry=self.registry)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)
