"""The moment at which Celery on Redis loses a message: handed over to a worker that dies before it could say so.

A proxy makes the moment certain: once the broker's answer with the message is through, nothing from the worker arrives
any more, and then the worker is killed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import urlsplit

import redis
from celery import Celery

from dispatcher import Lane
from dispatcher.dev import programs
from dispatcher.dev.children import Child, Guard, poll
from dispatcher.dev.embedded import EmbeddedServer
from dispatcher.dev.simulator.device_tokens import device_token
from tests.chaos.handing_over import hands_over
from tests.chaos.proxy import HOST, Proxy
from tests.chaos.rig import through
from tests.running_fleet import APP, Fleet


def test_the_fleet_loses_nothing_at_the_hand_over(fleet: Fleet) -> None:
    """A worker is killed between the broker's hand-over and its own first word: another one sends the push, once."""
    url = fleet.stack.server.url
    with Proxy(HOST, urlsplit(url).port or 0) as proxy:
        fleet.stack.worker_env["APNS_BROKER_URL"] = through(proxy, url)
        worker = fleet.stack.start_worker(Lane.ALERT)
        handed_over = proxy.hold_once(hands_over("apns.alert"))
        receipt = fleet.push.alert(APP, device_token(1), title="Hello")
        assert handed_over.wait(10)
        worker.kill()
        assert fleet.state.llen("apns.alert") == 0, "the broker has nothing left to give"
        assert fleet.seen() == {}, "the worker has not come to do anything"
    fleet.stack.worker_env.clear()
    fleet.stack.start_worker(Lane.ALERT)
    fleet.wait_until_settled()
    assert fleet.seen() == {receipt.apns_id: 1}
    assert fleet.counters("delivered") == 1


def test_stock_celery_loses_the_message(tmp_path: Path, root: Path) -> None:
    """The same with Celery as it comes, late acknowledgement and all: the message is gone, in no list of the broker.

    So the test above is known to be able to fail.
    """
    done = tmp_path / "done"
    with EmbeddedServer() as server, Guard() as guard, redis.Redis.from_url(server.url) as state:
        stock = Celery(broker=server.url, set_as_current=False)

        def start(url: str) -> Child:
            command = [sys.executable, "-m", "celery", "-q", "-A", "tests.chaos.stock_app", "worker", "-P", "solo"]
            env = {"CELERY_BROKER_URL": url, "DONE_FILE": str(done), "PYTHONPATH": str(root)}
            child = guard.start("stock", command, log=tmp_path / "log", env=programs.environment(env), directory=root)
            assert poll(lambda: any(each["cmd"] == "brpop" for each in state.client_list()), within_s=30)
            return child

        with Proxy(HOST, urlsplit(server.url).port or 0) as proxy:
            worker = start(through(proxy, server.url))
            handed_over = proxy.hold_once(hands_over("stock.work"))
            stock.send_task("stock.work", ["first"], ignore_result=True)
            assert handed_over.wait(10)
            worker.kill()
        assert (state.llen("celery"), state.hlen("unacked")) == (0, 0), "there is nothing to give again"
        other = start(server.url)
        stock.send_task("stock.work", ["second"], ignore_result=True)
        assert poll(done.exists, within_s=10)
        guard.stop([other], within_s=10)
        assert done.read_text(encoding="utf-8") == "second\n"
        stock.close()
