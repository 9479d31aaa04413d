"""The ledger finds what it is there for: each test breaks one thing and must hear of it."""

from __future__ import annotations

from dataclasses import replace

from dispatcher.feedback import Outcome
from dispatcher.push_types import Lane
from tests.chaos.ledger import Accepted, Account, Arrived, Ended, Incident, balance

CALL = Accepted(apns_id="call", lane=Lane.VOIP, device_token="aa", at=100.0, deadline=130.0)
RANG = Arrived(
    apns_id="call", device_token="aa", at=101.0, status=200, connection=1, provider_token="jwt", key_id="key"
)
ENDED = Ended(apns_id="call", outcome=Outcome.DELIVERED)
KILL = Incident(cause="kill", begun=101.5, ended=101.5, connections=frozenset({1}))


def update(version: int, at: float) -> tuple[Accepted, Arrived, Ended]:
    """Return an update of one device in all three records."""
    apns_id = f"update {version}"
    return (
        Accepted(apns_id=apns_id, lane=Lane.BACKGROUND, device_token="bb", at=at, version=version),
        Arrived(apns_id=apns_id, device_token="bb", at=at + 1, status=200, connection=1, version=version),
        Ended(apns_id=apns_id, outcome=Outcome.DELIVERED),
    )


def faults(account: Account) -> list[str]:
    """Return what the account complains of, without numbers and examples."""
    return [fault.partition(", such as")[0].partition(" ")[2] for fault in account.faults]


def test_nothing_to_complain_of() -> None:
    """What was accepted, arrived once and ended once is in order."""
    account = balance([CALL], [RANG], [ENDED])
    assert account.faults == ()
    assert account.outcomes == {Outcome.DELIVERED: 1}


def test_lost() -> None:
    """What was accepted and has no end is lost, though it arrived."""
    assert balance([CALL], [RANG], []).lost == ("call",)
    assert faults(balance([CALL], [], [])) == ["lost"]


def test_ended_twice() -> None:
    """Two ends of one notification are a fault."""
    assert faults(balance([CALL], [RANG], [ENDED, ENDED])) == ["ended more than once"]


def test_repeat_in_a_kill() -> None:
    """What was in flight in a killed worker may arrive again, and is counted."""
    account = balance([CALL], [RANG, replace(RANG, at=110.0, connection=2)], [ENDED], incidents=[KILL])
    assert account.faults == ()
    assert (account.duplicates, account.per_incident, account.concerned) == ({"kill": 1}, (1,), (1,))


def test_repeat_without_a_kill() -> None:
    """The same without a kill, long after its answer, or over another worker's connection has no cause."""
    again = replace(RANG, at=110.0, connection=2)
    no_kill = balance([CALL], [RANG, again], [ENDED])
    too_long_ago = balance([CALL], [RANG, again], [ENDED], incidents=[replace(KILL, begun=103.0, ended=103.0)])
    other_worker = balance([CALL], [RANG, again], [ENDED], incidents=[replace(KILL, connections=frozenset({7}))])
    for account in (no_kill, too_long_ago, other_worker):
        assert account.unexplained == ("call",)
        assert faults(account) == ["duplicated without a cause"]


def test_retry_is_no_repeat() -> None:
    """A request that Apple refused and that is tried again is none of a notification it had accepted."""
    account = balance([CALL], [replace(RANG, status=503), replace(RANG, at=102.0)], [ENDED])
    assert account.faults == ()


def test_late() -> None:
    """A call that arrives after its deadline is late, whatever became of it."""
    assert faults(balance([CALL], [replace(RANG, at=130.5)], [ENDED])) == ["late"]


def test_strangers() -> None:
    """Whatever nobody asked for is named, arrived or ended."""
    account = balance([], [RANG], [replace(ENDED, apns_id="other")])
    assert account.strangers == ("call", "other")


def test_disagreement() -> None:
    """Delivered without Apple's acceptance, or expired with it, is a fault."""
    assert faults(balance([CALL], [replace(RANG, status=410)], [ENDED])) == ["ended otherwise than Apple said"]
    expired = replace(ENDED, outcome=Outcome.EXPIRED)
    assert faults(balance([CALL], [RANG], [expired])) == ["ended otherwise than Apple said"]


def test_unheard() -> None:
    """What Apple accepted from a worker that was killed then may end as superseded: nobody had heard of it."""
    superseded = replace(ENDED, outcome=Outcome.SUPERSEDED)
    account = balance([CALL], [RANG], [superseded], incidents=[KILL])
    assert (account.faults, account.unheard) == ((), 1)
    assert faults(balance([CALL], [RANG], [superseded])) == ["ended otherwise than Apple said"]
    never = balance([CALL], [], [ENDED], incidents=[KILL])
    assert faults(never) == ["ended otherwise than Apple said"]


def test_older_after_newer() -> None:
    """A device that gets an old update after a new one, or never the newest, is named."""
    (one, first, end_one), (two, second, end_two) = update(1, 100.0), update(2, 200.0)
    superseded = replace(end_one, outcome=Outcome.SUPERSEDED)
    assert balance([one, two], [second], [superseded, end_two]).faults == ()
    assert balance([one, two], [first, second], [end_one, end_two]).faults == ()
    swapped = balance([one, two], [second, replace(first, at=300.0)], [end_one, end_two])
    assert swapped.outdated == ("bb",)
    never = balance([one, two], [first], [end_one, replace(end_two, outcome=Outcome.SUPERSEDED)])
    assert never.outdated == ("bb",)


def test_provider_tokens() -> None:
    """Two provider tokens of one key are one too many, unless they were issued in different windows."""
    other = replace(RANG, apns_id="other", provider_token="another")
    both = [CALL, replace(CALL, apns_id="other")]
    ends = [ENDED, replace(ENDED, apns_id="other")]
    assert faults(balance(both, [RANG, other], ends)) == ["provider tokens of one key in one window"]
    assert balance(both, [RANG, replace(other, issued_at=1800)], ends).faults == ()
