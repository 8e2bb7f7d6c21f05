"""Numbers about the registry server, in Prometheus' text format (version 0.0.4)."""

from __future__ import annotations

from collections import Counter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CONTENT_TYPE = "text/plain"
BUCKETS = (0.005, 0.02, 0.1, 0.5, 2.5, 10.0, 60.0)  # seconds
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


class Metrics:
    """Counted in the event loop only. Labels have few values, none of which a client can choose."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()  # method, kind of endpoint, status
        self.seconds: Counter[str] = Counter()
        self.buckets: dict[str, list[int]] = {}
        self.running = 0
        self.received = 0
        self.sent = 0
        self.broken = 0  # transfers that the client, or a time limit, ended
        self.refused = 0
        self.mirror: Counter[str] = Counter({"hit": 0, "miss": 0})
        self.mirror_bytes = 0
        self.collections: Counter[str] = Counter()

    def observe(self, method: str, kind: str, status: int, seconds: float) -> None:
        self.requests[method if method in METHODS else "other", kind, status] += 1
        self.seconds[kind] += seconds  # type: ignore[assignment]
        counts = self.buckets.setdefault(kind, [0] * (len(BUCKETS) + 1))
        counts[next((i for i, bound in enumerate(BUCKETS) if seconds <= bound), len(BUCKETS))] += 1

    def text(self, gauges: Iterable[tuple[str, str, float]]) -> str:
        """All of it; `gauges` are (name, help, value) that are looked up when asked."""
        return "\n".join([*self._lines(), *_gauges(gauges)]) + "\n"

    def _lines(self) -> Iterator[str]:
        yield from _head("requests_total", "counter", "Requests answered.")
        for (method, kind, status), count in sorted(self.requests.items()):
            labels = f'method="{method}",endpoint="{kind}",status="{status}"'
            yield f"estiva_registry_requests_total{{{labels}}} {count}"
        yield from _head("request_seconds", "histogram", "Time from a request's headers to its answer's end.")
        for kind, counts in sorted(self.buckets.items()):
            total = 0
            for bound, count in zip((*BUCKETS, "+Inf"), counts, strict=True):
                total += count
                yield f'estiva_registry_request_seconds_bucket{{endpoint="{kind}",le="{bound}"}} {total}'
            yield f'estiva_registry_request_seconds_sum{{endpoint="{kind}"}} {self.seconds[kind]:.6f}'
            yield f'estiva_registry_request_seconds_count{{endpoint="{kind}"}} {total}'
        for name, text, value in (
            ("received_bytes_total", "Bytes of blobs and manifests received.", self.received),
            ("sent_bytes_total", "Bytes of blobs sent.", self.sent),
            ("broken_transfers_total", "Transfers that broke off.", self.broken),
            ("upstream_bytes_total", "Bytes of blobs fetched from upstreams.", self.mirror_bytes),
        ):
            yield from _head(name, "counter", text)
            yield f"estiva_registry_{name} {value}"
        yield from _head("upstream_requests_total", "counter", "Pulls through the cache.")
        for result, count in sorted(self.mirror.items()):
            yield f'estiva_registry_upstream_requests_total{{result="{result}"}} {count}'
        yield from _head("collected_total", "counter", "What garbage collection removed.")
        for what, count in sorted(self.collections.items()):
            yield f'estiva_registry_collected_total{{what="{what}"}} {count}'
        yield from _head("requests_running", "gauge", "Requests being answered.")
        yield f"estiva_registry_requests_running {self.running}"


def _gauges(gauges: Iterable[tuple[str, str, float]]) -> Iterator[str]:
    for name, text, value in gauges:
        yield from _head(name, "gauge", text)
        yield f"estiva_registry_{name} {value}"


def _head(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP estiva_registry_{name} {text}", f"# TYPE estiva_registry_{name} {kind}"
