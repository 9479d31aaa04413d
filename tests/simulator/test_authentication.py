"""What a connection and its provider tokens may do, over several pushes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from dispatcher.dev.simulator import OBSERVED, STRICT, Form, SimulatorSettings, special_device_token

if TYPE_CHECKING:
    from tests.simulator.conftest import Client, Reply, Run, RunningSimulator

PAYLOAD = b'{"aps":{"alert":"hi"}}'
OK = (200, "")
CHURN = (429, "TooManyProviderTokenUpdates")
INVALID = (403, "InvalidProviderToken")
EXPIRED = (403, "ExpiredProviderToken")
LEGACY = ("KEYLEGACY0", "TEAMAAAAAA")
TEAM = ("KEYTEAMPRO", "TEAMAAAAAA")
TOPIC_1A = ("KEYTOPIC1A", "TEAMAAAAAA")
TOPIC_1B = ("KEYTOPIC1B", "TEAMAAAAAA")
TEAM_B = ("KEYTEAMBBB", "TEAMBBBBBB")


def push(apns: RunningSimulator, client: Client, provider_token: str) -> Reply:
    """Push with a provider token."""
    return client.ask(apns.headers(provider_token=provider_token), PAYLOAD)


@dataclass(frozen=True, kw_only=True)
class Step:
    """A push with a provider token of its own.

    Attributes:
        signer: Key id and team id.
        wait_s: How far the clock goes before it.
        age_s: Age of the provider token.
    """

    signer: tuple[str, str] = LEGACY
    answer: tuple[int, str]
    wait_s: float = 0
    age_s: float = 0


SEQUENCES: dict[str, tuple[SimulatorSettings, tuple[Step, ...]]] = {
    "A17 an expired provider token spoils the connection": (
        STRICT,
        (Step(age_s=3601, answer=EXPIRED), Step(answer=EXPIRED), Step(answer=EXPIRED, wait_s=3000)),
    ),
    "A17 unless told otherwise": (
        SimulatorSettings(wedge_after_expired=False, distinct_tokens_allowed=2),
        (Step(age_s=3601, answer=EXPIRED), Step(answer=OK)),
    ),
    "A18": (STRICT, (Step(answer=OK), Step(answer=CHURN, wait_s=300))),
    "A18 after 20 minutes": (STRICT, (Step(answer=OK), Step(answer=CHURN, wait_s=1199), Step(answer=OK, wait_s=1))),
    "A18 observed": (OBSERVED, (Step(answer=OK), Step(answer=OK, wait_s=300), Step(answer=CHURN, wait_s=300))),
    "A26": (STRICT, (Step(answer=OK), Step(signer=TEAM_B, answer=INVALID))),
    "A27": (STRICT, (Step(signer=TEAM, answer=OK), Step(signer=TOPIC_1A, answer=(403, "UnrelatedKeyIdInToken")))),
    "A28": (STRICT, (Step(signer=TOPIC_1A, answer=OK), Step(signer=TOPIC_1B, answer=OK))),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_connection_remembers_its_provider_tokens(name: str, run: Run) -> None:
    """What one provider token is answered depends on those the connection carried before."""
    settings, steps = SEQUENCES[name]
    apns = run(settings)
    answers = []

    with apns.connect() as client:
        for step in steps:
            apns.clock.now += step.wait_s
            reply = push(apns, client, apns.sign(*step.signer, age_s=step.age_s))
            answers.append((reply.status, reply.reason))

    assert answers == [step.answer for step in steps]


@pytest.mark.parametrize(
    ("settings", "answers"), [(STRICT, [INVALID, CHURN, CHURN]), (OBSERVED, [INVALID, INVALID, CHURN])]
)
def test_invalid_provider_tokens_count_as_changes(
    settings: SimulatorSettings, answers: list[tuple[int, str]], run: Run
) -> None:
    """A22: churn is judged before the signature."""
    apns = run(settings)

    with apns.connect() as client:
        replies = [push(apns, client, f"junk-{number}") for number in range(3)]

    assert answers == [(reply.status, reply.reason) for reply in replies]


@pytest.mark.parametrize(("settings", "answers"), [(STRICT, [OK] * 4), (OBSERVED, [OK, OK, CHURN, CHURN])])
def test_churn_is_counted_where_the_settings_say(
    settings: SimulatorSettings, answers: list[tuple[int, str]], run: Run
) -> None:
    """A25: by the book each connection counts for itself, as observed all of one address together."""
    apns = run(settings)
    replies = []

    for _ in range(4):
        with apns.connect() as client:
            replies.append(push(apns, client, apns.sign()))

    assert answers == [(reply.status, reply.reason) for reply in replies]


@pytest.mark.parametrize("settings", [STRICT, OBSERVED])
def test_one_shared_provider_token_serves_all_connections(settings: SimulatorSettings, run: Run) -> None:
    """A24: ten connections may carry the same provider token, for as long as it is young."""
    apns = run(settings)

    for _ in range(10):
        apns.clock.now += 300
        with apns.connect() as client:
            assert push(apns, client, apns.provider_token).status == 200


def test_the_stream_limit_rises_with_the_first_valid_provider_token(apns: RunningSimulator) -> None:
    """T7: one stream until Apple has seen a valid provider token, a thousand from then on."""
    with apns.connect() as client:
        refused = client.ask(apns.headers(authorization=None), PAYLOAD)
        before = client.max_streams
        client.ask(apns.headers(device_token=special_device_token(Form.BAD, 1)), PAYLOAD)
        after = client.max_streams

    assert refused.status == 403
    assert (before, after) == (1, 1000)


def test_an_expired_provider_token_takes_the_streams_away(apns: RunningSimulator) -> None:
    """A17: the limit falls back to one when the provider token of a good connection has become too old."""
    with apns.connect() as client:
        client.ask(apns.headers(), PAYLOAD)
        apns.clock.now += 3601
        reply = client.ask(apns.headers(), PAYLOAD)

        assert reply.reason == "ExpiredProviderToken"
        assert client.max_streams == 1


@pytest.mark.parametrize(("is_reduced", "limits"), [(False, [1000] * 4), (True, [1000, 1, 1000, 1000])])
def test_refusals_may_reduce_the_streams(is_reduced: bool, limits: list[int], run: Run) -> None:  # noqa: FBT001
    """R5, R7: when set so, a 400 takes the streams away until the next 200; a 410 never does."""
    apns = run(SimulatorSettings(reduce_streams_on_refusal=is_reduced))
    forms = (None, Form.BAD, None, Form.UNREGISTERED)
    seen = []

    with apns.connect() as client:
        for form in forms:
            device_token = None if form is None else special_device_token(form, 1)
            client.ask(apns.headers(device_token=device_token), PAYLOAD)
            seen.append(client.max_streams)

    assert limits == seen
