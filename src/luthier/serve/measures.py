"""What is counted while models are in service, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from luthier.serve.deck import Deck
    from luthier.serve.trace import Trace, Tracer

disable_created_metrics()
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Measures:
    """Counters in a registry of their own. Models are labelled by what was served: a client cannot make up new ones."""

    def __init__(self, deck: Deck, tracer: Tracer) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(Standing(deck, tracer))  # type: ignore[arg-type]
        labels = ["route", "model", "status"]
        self._requests = Counter("luthier_requests", "Replies.", labels, registry=self.registry)
        self._seconds = Histogram("luthier_request_seconds", "From the request to the end of its reply.",
                                  ["route", "model"], buckets=SECONDS, registry=self.registry)  # fmt: skip
        self._first = Histogram("luthier_first_token_seconds", "From the request to the first of its answer.",
                                ["model"], buckets=SECONDS, registry=self.registry)  # fmt: skip
        self._tokens = Counter("luthier_tokens", "Tokens read and written.", ["model", "kind"], registry=self.registry)
        self._cached = Counter("luthier_cached_answers", "Answers that were not made again.", ["model"],
                               registry=self.registry)  # fmt: skip

    def count(self, route: str, model: str, status: int, seconds: float) -> None:
        """A reply has ended."""
        self._requests.labels(route, model, str(status)).inc()
        self._seconds.labels(route, model).observe(seconds)

    def add(self, trace: Trace) -> None:
        """A model has answered, or was to."""
        if not trace.served:
            return
        if trace.cached:
            self._cached.labels(trace.served).inc()
            return
        if trace.first_token_ms is not None:
            self._first.labels(trace.served).observe(trace.first_token_ms / 1000)
        self._tokens.labels(trace.served, "prompt").inc(trace.prompt_tokens)
        self._tokens.labels(trace.served, "completion").inc(trace.completion_tokens)

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return generate_latest(self.registry)


class Standing:
    """What is read off when somebody looks: lines, engines, traces."""

    def __init__(self, deck: Deck, tracer: Tracer) -> None:
        self.deck, self.tracer = deck, tracer

    def collect(self) -> Iterator[Any]:
        """The seam of prometheus_client."""
        waiting = GaugeMetricFamily("luthier_queue_depth", "Requests that wait for an engine.", labels=["engine"])
        served = GaugeMetricFamily("luthier_requests_served", "Requests that an engine works on.", labels=["engine"])
        memory = GaugeMetricFamily("luthier_engine_memory_bytes", "Resident memory of an engine.", labels=["engine"])
        restarts = CounterMetricFamily("luthier_engine_restarts", "How often an engine was started again.",
                                       labels=["engine"])  # fmt: skip
        for berth in self.deck.berths():
            label = [f"{berth.spec['engine']}:{berth.spec['name']}"]
            waiting.add_metric(label, berth.line.waiting)
            served.add_metric(label, berth.line.served)
            memory.add_metric(label, berth.remote.rss_bytes or 0)
            restarts.add_metric(label, berth.remote.restarts)
        yield from (waiting, served, memory, restarts)
        yield CounterMetricFamily("luthier_traces_lost", "Traces that were not written.", value=self.tracer.lost)
