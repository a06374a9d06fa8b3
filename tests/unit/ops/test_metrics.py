import asyncio

from etb_appservice.ops.clock import SystemClock
from etb_appservice.ops.metrics import Metrics
from etb_appservice.ports import Clock, Meter


def scraped(metrics: Metrics) -> dict[str, float]:
    pairs = [
        line.rsplit(" ", 1) for line in metrics.exposition().decode().splitlines() if not line.startswith("#")
    ]
    return {name: float(value) for name, value in pairs}


def test_what_happens_is_counted_under_the_names_that_are_documented() -> None:
    metrics = Metrics(process=False)
    meter: Meter = metrics
    meter.fact("IncidentSeen", 0.01)
    meter.effect("Say", "done", 0.2)
    meter.command("status", "SUCCESS", 0.3)
    meter.undecryptable("key missing")
    meter.parked("outbox")
    metrics.keys_refused("no_one_time_key", 3)
    metrics.key_requests_refused(2)
    metrics.history("no_device")
    metrics.call("etb", "200", 0.1)
    metrics.depth("inbox", 4, 1, 2.5)
    metrics.rooms(7)
    metrics.ready(True)
    found = scraped(metrics)
    assert found['etb_fact_seconds_count{kind="IncidentSeen"}'] == 1
    assert found['etb_effect_seconds_sum{kind="Say",outcome="done"}'] == 0.2
    assert found['etb_command_seconds_count{name="status",status="SUCCESS"}'] == 1
    assert found['etb_undecryptable_total{reason="key_missing"}'] == 1
    assert found['etb_parked_total{queue="outbox"}'] == 1
    assert found['etb_keys_refused_total{reason="no_one_time_key"}'] == 3
    assert found["etb_key_requests_refused_total"] == 2
    assert found['etb_history_bundles_total{outcome="no_device"}'] == 1
    assert found['etb_call_seconds_count{peer="etb",status="200"}'] == 1
    assert found['etb_queue_depth{queue="inbox"}'] == 4
    assert found['etb_queue_parked{queue="inbox"}'] == 1
    assert found['etb_queue_age_seconds{queue="inbox"}'] == 2.5
    assert (found["etb_rooms"], found["etb_ready"]) == (7, 1)


def test_a_label_never_holds_a_text_or_an_id() -> None:
    metrics = Metrics(process=False)
    for hostile in ("!room:example.org", "$event", "a\nb", "", "ü", "x" * 100, 'a"} 1\nevil 1'):
        metrics.undecryptable(hostile)
        metrics.command(hostile, hostile, 1)
    found = scraped(metrics)
    assert found['etb_undecryptable_total{reason="other"}'] == 7
    assert "example" not in metrics.exposition().decode()


def test_labels_stay_few_however_many_values_come() -> None:
    metrics = Metrics(process=False)
    for number in range(5000):
        metrics.undecryptable(f"reason{number}")
    assert sum(name.startswith("etb_undecryptable_total") for name in scraped(metrics)) <= 201


def test_the_table_names_every_metric_that_is_scraped() -> None:
    metrics = Metrics(process=False)
    names = {name for name, *_ in metrics.table()}
    families = {
        line.split()[2] for line in metrics.exposition().decode().splitlines() if line.startswith("# TYPE")
    }
    assert names == {name for name in families if not name.endswith("_created")}


async def test_the_system_clock_is_a_clock() -> None:
    clock: Clock = SystemClock()
    before = clock.now_ms()
    began = clock.monotonic()
    await asyncio.wait_for(clock.sleep(0), 5)
    assert clock.monotonic() >= began
    assert clock.now_ms() > 1_600_000_000_000 <= before
