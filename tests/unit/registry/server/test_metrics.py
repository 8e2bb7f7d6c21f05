"""The registry server's numbers, as Prometheus reads them."""

from __future__ import annotations

from estiva.registry.server.metrics import BUCKETS, Metrics


def values(metrics, gauges=()):
    lines = metrics.text(gauges).splitlines()
    assert all(line.startswith("#") or len(line.rsplit(" ", 1)) == 2 for line in lines)
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


def test_a_histogram_adds_up():
    metrics = Metrics()
    for seconds in (0.001, 0.005, 0.05, 1000.0):
        metrics.observe("GET", "blobs", 200, seconds)
    found = values(metrics)
    assert found['estiva_registry_requests_total{method="GET",endpoint="blobs",status="200"}'] == 4
    bucket = 'estiva_registry_request_seconds_bucket{{endpoint="blobs",le="{}"}}'
    counts = [found[bucket.format(bound)] for bound in (*BUCKETS, "+Inf")]
    assert counts == sorted(counts) and counts[0] == 2 and counts[-2:] == [3, 4]
    assert found['estiva_registry_request_seconds_count{endpoint="blobs"}'] == 4
    assert found['estiva_registry_request_seconds_sum{endpoint="blobs"}'] == 1000.056


def test_a_client_can_not_make_labels():
    metrics = Metrics()
    for number in range(100):
        metrics.observe(f'X{number}" }} 1\nevil', "other", 405, 0.0)
    names = [name for name in values(metrics) if "requests_total" in name]
    assert 'estiva_registry_requests_total{method="other",endpoint="other",status="405"}' in names
    assert sum("method=" in name for name in names) == 1


def test_every_number_is_described():
    text = Metrics().text([("blobs", "Different blobs.", 7.0)])
    described = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    named = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if line[0] != "#"}
    assert named <= described and text.endswith("\n")
    assert values(Metrics(), [("blobs", "Different blobs.", 7.0)])["estiva_registry_blobs"] == 7
