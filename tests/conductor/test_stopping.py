"""What Apple refuses for its key, topic or environment is stopped, parked, probed and resumed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

import pytest
from structlog.testing import capture_logs

from dispatcher import pausing, redis_keys
from dispatcher.errors import TransportError
from dispatcher.feedback import Outcome
from dispatcher.pausing import PausedBy, Scope
from dispatcher.push_types import Lane
from tests.conductor.conftest import APP, SHARD, Bench, Worker, device_tokens, make_record, until
from tests.conductor.recording_publisher import RecordingPublisher, make_sweeper
from tests.conductor.scripted_transport import ACCEPTED, BUSY, Late
from workers.pauses import FleetPauses
from workers.safeguards import SUSPECT_ENVIRONMENT, Safeguards
from workers.sweeper import Sweeper
from workers.transport.port import ApnsAnswer
from workers.unparking import LOOK_EVERY_S, Unparker

KEY = Scope(key_id="KEYID12345")
WRONG_KEY = ApnsAnswer(status=403, reason="InvalidProviderToken")
CHURN = ApnsAnswer(status=429, reason="TooManyProviderTokenUpdates")
BAD_DEVICE = ApnsAnswer(status=400, reason="BadDeviceToken")
EVERYBODY = device_tokens(500)


@dataclass(kw_only=True)
class Host:
    """A worker on a host of its own, that takes part in the fleet's pauses, and its sweeper."""

    worker: Worker
    pauses: FleetPauses
    sweeper: Sweeper
    publisher: RecordingPublisher

    async def sweep(self) -> list[str]:
        """Read what is paused and sweep; returns the ids that are published."""
        await self.pauses.refresh()
        await self.sweeper.sweep()
        return self.publisher.published()


async def start_host(bench: Bench, name: str = "one") -> Host:
    """Start a worker on a host that has just given a sign of life."""
    worker = await bench.worker()
    safeguards = Safeguards(start_in_flight=8)
    apps = worker.edges.sending.apps
    pauses = FleetPauses(bench.state, apps=apps, host=name, scale=1.0, lift=safeguards.lift)
    safeguards.fleet = pauses
    sending = replace(worker.edges.sending, pauses=pauses, safeguards=safeguards)
    worker.edges = replace(worker.edges, sending=sending)
    sweeper, publisher = make_sweeper(bench, worker=f"{name}:1")
    unparker = Unparker(lane=Lane.ALERT, apps=apps, state=bench.state, pauses=pauses, now=bench.clock.now)
    bench.redis.zadd(redis_keys.workers(), {f"{name}:1:alert": bench.clock.now()})
    return Host(worker=worker, pauses=pauses, sweeper=replace(sweeper, unparker=unparker), publisher=publisher)


def parked(bench: Bench) -> int:
    """Return how many batches are parked."""
    return int(bench.redis.zcard(redis_keys.parked(SHARD, APP, Lane.ALERT)))


async def paused(bench: Bench) -> list[tuple[str, str]]:
    """Return what is paused and why."""
    return [(str(pause.scope), pause.reason) for pause in await bench.state.run(pausing.read())]


async def test_too_many_provider_tokens_let_the_key_rest_here(bench: Bench) -> None:
    """Nothing leaves for five minutes, nothing is paused in the fleet, and somebody is told once."""
    one = await start_host(bench)
    one.worker.transport.script(EVERYBODY, CHURN)
    batch_id = await bench.put(make_record(count=500))
    with capture_logs() as logs:
        assert await one.worker.deliver(batch_id) == "retry 500"
        sent = len(one.worker.transport.requests)
        bench.advance(290)
        await one.worker.deliver(batch_id)
    assert sent == len(one.worker.transport.requests) <= 8
    assert (await paused(bench), parked(bench)) == ([], 0)
    assert [(line["event"], line["reason"]) for line in logs] == [("apns_rests", CHURN.reason)]


async def test_a_wrong_key_stops_here_first(bench: Bench) -> None:
    """The host that meets it gives its batch back for a short while, without an attempt, and sends nothing more."""
    one, two = await start_host(bench), await start_host(bench, "two")
    one.worker.transport.script(EVERYBODY, WRONG_KEY)
    batch_id = await bench.put(make_record(count=500))
    assert await one.worker.deliver(batch_id) == "retry 500"
    assert len(one.worker.transport.requests) <= 8
    assert (await paused(bench), parked(bench)) == ([], 0)
    bench.advance(2.01)
    assert await two.worker.deliver(batch_id) == "sent 500", "only the first host has the wrong key"
    assert bench.counters()["delivered"] == 500


async def test_a_second_host_stops_the_fleet(bench: Bench) -> None:
    """When another host meets the same, batches are parked, and a third host does not even try."""
    hosts = [await start_host(bench, name) for name in ("one", "two", "three")]
    for host in hosts:
        host.worker.transport.script(EVERYBODY, WRONG_KEY)
    first, second, third = [await bench.put(make_record(count=50)) for _ in hosts]
    assert await hosts[0].worker.deliver(first) == "retry 50"
    assert "parked" in await hosts[1].worker.deliver(second)
    assert await paused(bench) == [(str(KEY), "InvalidProviderToken")]
    await hosts[2].pauses.refresh()
    assert await hosts[2].worker.deliver(third) == "parked 50"
    assert hosts[2].worker.transport.requests == []
    assert parked(bench) == 2
    assert bench.feedback() == []


async def test_the_only_host_stops_after_its_probe(bench: Bench) -> None:
    """Where nobody else lives the first probe that is refused pauses the key."""
    one = await start_host(bench)
    one.worker.transport.script(EVERYBODY, WRONG_KEY)
    batch_id = await bench.put(make_record(count=50))
    assert await one.worker.deliver(batch_id) == "retry 50"
    sent = len(one.worker.transport.requests)
    bench.advance(2.01)
    assert await one.worker.deliver(batch_id) == "retry 49, parked 1"
    assert len(one.worker.transport.requests) == sent + 1
    assert (await paused(bench), parked(bench)) == ([(str(KEY), "InvalidProviderToken")], 1)


async def pause_key(bench: Bench, host: Host) -> str:
    """Let a host pause its key and park a batch of three; returns the batch's id."""
    host.worker.transport.script(EVERYBODY, WRONG_KEY)
    call = pausing.report_trouble(KEY, "elsewhere", "InvalidProviderToken", is_certain=True, first_probe_s=2)
    await bench.state.run(call)
    await host.pauses.refresh()
    batch_id = await bench.put(make_record(count=3))
    assert await host.worker.deliver(batch_id) == "parked 3"
    assert host.worker.transport.requests == []
    return batch_id


async def test_probes_go_out_and_resume(bench: Bench) -> None:
    """A parked batch comes back for one probe when it is time; accepted, everything goes on without anybody's help."""
    one = await start_host(bench)
    batch_id, other_id = await pause_key(bench, one), await pause_key(bench, one)
    assert await one.sweep() == []
    bench.advance(2.01)
    (probing_id,) = await one.sweep()
    assert await one.worker.deliver(probing_id) == "parked 3"
    assert len(one.worker.transport.requests) == 1
    bench.advance(3.5)
    assert await one.sweep() == [], "the next probe follows after four seconds"
    bench.advance(0.6)
    (probing_id,) = await one.sweep()
    one.worker.transport.script(EVERYBODY, ACCEPTED)
    assert await one.worker.deliver(probing_id) in {"sent 1, parked 2", "parked 2, sent 1", "sent 3"}
    assert await paused(bench) == []
    published = set(await one.sweep())
    assert published | {probing_id} == {batch_id, other_id}
    bench.advance(LOOK_EVERY_S)
    published |= set(await one.sweep())
    for each in published:
        await one.worker.deliver(each)
    assert bench.counters()["delivered"] == 6
    assert parked(bench) == 0


async def test_a_probe_that_proves_nothing_ends_nothing(bench: Bench) -> None:
    """A probe that meets a 503 leaves the pause as it is."""
    one = await start_host(bench)
    batch_id = await pause_key(bench, one)
    bench.advance(2.01)
    await one.sweep()
    one.worker.transport.script(EVERYBODY, BUSY)
    await one.worker.deliver(batch_id)
    assert len(one.worker.transport.requests) == 1
    assert await paused(bench) == [(str(KEY), "InvalidProviderToken")]


async def test_an_operators_pause_holds(bench: Bench) -> None:
    """What is paused by hand is parked and never probed; resumed by hand it goes."""
    one = await start_host(bench)
    scope = Scope(app=APP, lane=Lane.ALERT)
    await bench.state.run(pausing.pause(scope, "operator"))
    await one.pauses.refresh()
    batch_id = await bench.put(make_record(count=2))
    assert await one.worker.deliver(batch_id) == "parked 2"
    bench.advance(3600)
    assert await one.sweep() == []
    await bench.state.run(pausing.resume(scope, by=PausedBy.OPERATOR))
    assert await one.sweep() == [batch_id]
    assert await one.worker.deliver(batch_id) == "sent 2"


async def test_a_restarted_worker_knows_what_is_paused(bench: Bench) -> None:
    """Pauses are in the state server: a process that starts reads them, and finds what another one parked."""
    batch_id = await pause_key(bench, await start_host(bench))
    fresh = await start_host(bench)
    await fresh.pauses.refresh()
    assert fresh.pauses.is_paused(APP, Lane.ALERT)
    await bench.state.run(pausing.resume(KEY, by=PausedBy.OPERATOR))
    assert await fresh.sweep() == [batch_id], "nobody here saw the pause end"


async def test_what_waits_for_a_stream_is_parked_too(bench: Bench) -> None:
    """A push that waits for its stream when the fleet is paused does not leave any more."""
    one = await start_host(bench)
    one.worker.transport.streams_free.clear()
    delivering = one.worker.start(await bench.put(make_record(count=5)))
    await until(lambda: one.worker.transport.waiting == 5)
    await bench.state.run(pausing.pause(KEY, "operator"))
    await one.pauses.refresh()
    one.worker.transport.streams_free.set()
    assert await delivering == "parked 5"
    assert one.worker.transport.requests == []


async def test_a_wrong_environment_reports_nobody_dead(bench: Bench) -> None:
    """When Apple refuses one device token after the other the app is paused, and not one of them is reported."""
    one = await start_host(bench)
    one.worker.transport.script(EVERYBODY, BAD_DEVICE)
    batch_id = await bench.put(make_record(count=500))
    assert "parked" in await one.worker.deliver(batch_id)
    assert len(one.worker.transport.requests) < 40
    assert parked(bench) == 1
    assert await paused(bench) == [(f"{APP}|*|*", SUSPECT_ENVIRONMENT)]
    assert bench.feedback() == []
    bench.advance(2.01)
    await one.sweep()
    assert await one.worker.deliver(batch_id) == "parked 500"
    assert len(one.worker.transport.requests) < 41, "the probe was refused as well"
    assert await paused(bench) == [(f"{APP}|*|*", SUSPECT_ENVIRONMENT)]


async def test_a_few_bad_device_tokens_are_reported(bench: Bench) -> None:
    """Among device tokens that Apple knows, those it refuses are reported at once."""
    one = await start_host(bench)
    one.worker.transport.script(EVERYBODY[::100], BAD_DEVICE)
    assert await one.worker.deliver(await bench.put(make_record(count=500))) == "sent 495, refused 5"
    assert [told.outcome for told in bench.feedback()] == [Outcome.REFUSED] * 5
    assert await paused(bench) == []


async def test_news_of_a_bad_device_token_waits_until_it_is_clear(bench: Bench) -> None:
    """The first answers are held back; when Apple takes the next ones, the bad one is reported dead."""
    one = await start_host(bench)
    bad, *good = device_tokens(3)
    late = Late()
    one.worker.transport.script([bad], BAD_DEVICE)
    one.worker.transport.script(good, late)
    delivering = one.worker.start(await bench.put(make_record(count=3)))
    await until(lambda: len(one.worker.transport.requests) == 3)
    await asyncio.sleep(0.2)
    assert bench.counters()["refused"] == 0, "two more bad ones may follow"
    late.come.set()
    assert await delivering == "sent 2, refused 1"


async def test_a_single_bad_call_is_reported_after_a_moment(bench: Bench) -> None:
    """Where nothing else is sent the news waits a second and no longer."""
    one = await start_host(bench)
    one.worker.transport.script(EVERYBODY, BAD_DEVICE)
    batch_id = await bench.put(make_record(push_type="voip", expires_in=30.0), lane=Lane.VOIP)
    assert await one.worker.deliver(batch_id, lane=Lane.VOIP) == "refused 1"


async def test_a_storm_of_5xx_meets_few_requests(bench: Bench) -> None:
    """After a few 503 in a row the others wait for a second without an attempt; those answered wait 15 minutes."""
    one = await start_host(bench)
    one.worker.transport.script(EVERYBODY, BUSY)
    batch_id = await bench.put(make_record(count=500))
    assert await one.worker.deliver(batch_id) == "retry 500"
    sent = len(one.worker.transport.requests)
    assert sent <= 16
    bench.advance(2.1)
    await one.worker.deliver(batch_id)
    assert len(one.worker.transport.requests) == sent + 1, "the probe"
    one.worker.transport.script(EVERYBODY, ACCEPTED)
    bench.advance(4.2)
    await one.worker.deliver(batch_id)
    assert bench.counters()["delivered"] == 500 - sent - 1, "a success opens the endpoint"
    assert bench.counters()["dead_lettered"] == 0


@pytest.mark.parametrize("push_type", ["voip", "alert"])
async def test_what_certainly_was_not_sent_is_sent_at_once(bench: Bench, push_type: str) -> None:
    """A push that was lost before Apple could have it goes out again in the same attempt."""
    one = await start_host(bench)
    lane = Lane.VOIP if push_type == "voip" else Lane.ALERT
    one.worker.transport.script(EVERYBODY, TransportError("GOAWAY", maybe_sent=False), ACCEPTED)
    batch_id = await bench.put(make_record(push_type=push_type, expires_in=30.0), lane=lane)
    assert await one.worker.deliver(batch_id, lane=lane) == "sent 1"
    assert one.worker.transport.apns_ids == [batch_id] * 2


async def test_a_call_that_may_be_lost_is_sent_again_at_once(bench: Bench) -> None:
    """A call without an answer is tried a second time at once, an alert later."""
    one = await start_host(bench)
    one.worker.transport.script(EVERYBODY, TransportError("connection lost", maybe_sent=True), ACCEPTED)
    batch_id = await bench.put(make_record(push_type="voip", expires_in=30.0), lane=Lane.VOIP)
    assert await one.worker.deliver(batch_id, lane=Lane.VOIP) == "sent 1"
    one.worker.transport.script(EVERYBODY, TransportError("connection lost", maybe_sent=True), ACCEPTED)
    assert await one.worker.deliver(await bench.put(make_record())) == "retry 1"


async def test_a_call_meets_5xx_twice(bench: Bench) -> None:
    """A call has one more try after a 5xx, within its time; then it ends as a dead letter with Apple's reason."""
    one = await start_host(bench)
    one.worker.transport.script(EVERYBODY, BUSY)
    batch_id = await bench.put(make_record(push_type="voip", expires_in=30.0), lane=Lane.VOIP)
    assert await one.worker.deliver(batch_id, lane=Lane.VOIP) == "retry 1"
    bench.advance(2.6)
    assert await one.worker.deliver(batch_id, lane=Lane.VOIP) == "dead-lettered 1"
    (told,) = bench.feedback()
    assert (told.outcome, told.reason) == (Outcome.DEAD_LETTERED, "ServiceUnavailable")


async def test_the_alarm_sounds_once_a_minute(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """One line per pause and minute in the whole fleet says what is paused, why, and how much waits."""
    one, two = await start_host(bench), await start_host(bench, "two")
    await pause_key(bench, one)
    for host in (one, two, one):
        await host.sweep()
    lines = [line for line in capsys.readouterr().out.splitlines() if "apns_paused" in line]
    assert len(lines) == 1
    assert "InvalidProviderToken" in lines[0]
    assert "parked=1" in lines[0]
    ttl_s = bench.redis.ttl(redis_keys.alarmed(str(KEY)))
    assert 50 < ttl_s <= 60
