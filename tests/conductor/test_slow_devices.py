"""TooManyRequests slows the device that it is about, and nothing else."""

from __future__ import annotations

from tests.conductor.conftest import Bench, device_tokens, make_record
from tests.conductor.scripted_transport import ACCEPTED
from workers.transport.port import ApnsAnswer

TOO_MANY = ApnsAnswer(status=429, reason="TooManyRequests")


async def test_others_to_the_device_wait_unasked(bench: Bench) -> None:
    """While a device is to be left alone nothing is sent to it, no attempt is used up, and other devices are served."""
    worker = await bench.worker()
    slowed, other = device_tokens(2)
    worker.transport.script([slowed], TOO_MANY, ACCEPTED)
    worker.transport.script([other], ACCEPTED)
    first = await bench.put(make_record())
    second = await bench.put(make_record())
    assert await worker.deliver(first) == "retry 1"
    assert await worker.deliver(second) == "retry 1"
    assert await worker.deliver(await bench.put(make_record(device_tokens=(other,)))) == "sent 1"
    assert [request.device_token for request in worker.transport.requests] == [slowed, other]
    bench.advance(61.0)
    await bench.sweep()
    await bench.clock.compare()
    worker.transport.script([slowed], ACCEPTED)
    assert [await worker.deliver(each) for each in (first, second)] == ["sent 1", "sent 1"]
