"""RabbitMQ as broker: one node for the session, and a whole fleet that reaches it over a network that can be bad."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dispatcher import Dispatcher, Settings, routing
from dispatcher.dev.servers import Servers
from dispatcher.messages import make_celery
from tests.chaos.proxy import HOST, Network, Proxy
from tests.rabbitmq.node import FLEET_VHOST, PROGRAM, Node, is_installed
from tests.running_fleet import Fleet, watched_fleet

Send = Callable[[], Any]


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Run a RabbitMQ for the session."""
    if not is_installed():
        pytest.skip(f"{PROGRAM} is not installed; Debian's package is rabbitmq-server")
    with Node(tmp_path_factory.mktemp("rabbitmq")) as running:
        yield running


@pytest.fixture
def network(node: Node) -> Iterator[Proxy]:
    """Put a network between RabbitMQ and a web app."""
    with Proxy(HOST, node.port) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def session_network(node: Node) -> Iterator[Proxy]:
    """Put a network between RabbitMQ and the fleet."""
    with Proxy(HOST, node.port) as proxy:
        yield proxy


@pytest.fixture
def fleet_network(session_network: Proxy) -> Iterator[Proxy]:
    """Return the fleet's network; it is well again afterwards."""
    yield session_network
    session_network.set(Network())


@pytest.fixture
def queues(node: Node) -> Iterator[Any]:
    """Return a plain channel to RabbitMQ without any queue of ours."""
    with node.connect() as connection:
        channel = connection.channel()
        for queue in routing.QUEUE_LANES:
            channel.queue_delete(queue)
        yield channel


@pytest.fixture
def push_through(env: dict[str, str]) -> Iterator[Callable[..., Dispatcher]]:
    """Return a maker of dispatchers that publish through a broker; closed afterwards."""
    made: list[Dispatcher] = []

    def make(broker_url: str, **more: str) -> Dispatcher:
        own = {"APNS_BROKER_URL": broker_url, "APNS_STATE_URL": env["APNS_BROKER_URL"], **more}
        made.append(Dispatcher(Settings.from_env({**env, **own})))
        return made[-1]

    yield make
    for push in made:
        push.close()


@pytest.fixture(scope="session")
def session_fleet(node: Node, session_network: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a fleet with Flower, whose API is open."""
    servers = Servers(broker_url=node.url_at(session_network.port, vhost=FLEET_VHOST))
    with watched_fleet(tmp_path_factory.mktemp("rabbit-fleet") / "stack", servers=servers) as running:
        yield running


@pytest.fixture
def fleet(session_fleet: Fleet) -> Iterator[Fleet]:
    """Return that fleet, with nothing to do; it has nothing to do afterwards."""
    session_fleet.forget()
    yield session_fleet
    session_fleet.wait_until_settled(within_s=60)


@pytest.fixture
def channel(node: Node) -> Iterator[Any]:
    """Return a plain channel to where the fleet is."""
    with node.connect(vhost=FLEET_VHOST) as connection:
        yield connection.channel()


@pytest.fixture
def control(node: Node) -> Iterator[Any]:
    """Return Celery's remote control of the fleet."""
    app = make_celery(node.url_at(node.port, vhost=FLEET_VHOST), timeout_s=5)
    yield app.control
    app.producer_pool.connections.force_close_all()
