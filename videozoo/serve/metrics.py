"""The numbers of a server for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
SAMPLES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The numbers of one server, in a registry of their own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Counter(
            "videozoo_requests",
            "Requests by route, method and status.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self.request_s = Histogram(
            "videozoo_request_seconds", "Seconds of a request.", ["route"], buckets=SECONDS, registry=registry
        )
        self.upload_bytes = Counter("videozoo_upload_bytes", "Bytes of request bodies.", registry=registry)
        self.answers = Counter("videozoo_answers", "Answers by model.", ["model"], registry=registry)
        self.samples = Histogram(
            "videozoo_network_samples",
            "Samples that went through a network together.",
            ["model"],
            buckets=SAMPLES,
            registry=self.registry,
        )
        self.network_s = Histogram(
            "videozoo_network_seconds",
            "Seconds of one run of a network.",
            ["model"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.worker_restarts = Counter("videozoo_worker_restarts", "Workers replaced after a crash.", registry=registry)

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None:
        """Adds a number that is read when it is asked for."""
        Gauge(name, about, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """Returns all numbers in Prometheus' text format."""
        return generate_latest(self.registry)
