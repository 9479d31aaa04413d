"""What each decision leaves behind, and how Flower says it."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace
from hashlib import sha256

import pytest

from dispatcher import record
from dispatcher.feedback import QUIET_OUTCOMES, Outcome, decode
from dispatcher.notes import Ends
from dispatcher.notification import Report
from dispatcher.push_types import Environment, Lane
from dispatcher.record import MAX_STORED_BYTES, Record
from dispatcher.sealing import PLAIN, dead_letter_place
from dispatcher.status import decode_end
from workers.endings import Past, leave, leave_unreadable, summary_text
from workers.retry import Decision, Finish, Release, Retry

APP = "com.example.app"


def make_batch(report: Report = Report.FAILURES, push_type: str = "alert") -> Record:
    """Return a record of two notifications."""
    return Record(
        app=APP,
        environment=Environment.SANDBOX,
        push_type=push_type,
        device_tokens=("aa", "bb"),
        payload='{"aps":{"alert":"grüß"}}'.encode(),
        priority=10,
        report=report,
    )


def left_by(decision: Finish | Retry, *, report: Report = Report.FAILURES, push_type: str = "alert") -> Ends:
    """Return what the second notification of a batch leaves behind."""
    ends = Ends()
    leave(ends, make_batch(report, push_type), 1, "the-apns-id", decision, sealing=PLAIN)
    return ends


@pytest.mark.parametrize("report", Report)
@pytest.mark.parametrize("outcome", Outcome)
def test_every_end_is_counted_and_told_as_asked(outcome: Outcome, report: Report) -> None:
    """Each end is counted; failures are always told, deliveries only to an app that asked for everything."""
    ends = left_by(Finish(outcome=outcome, reason="Why"), report=report)
    assert ends.count == {f"{outcome}|{APP}|alert|Why": 1}
    is_told = outcome not in QUIET_OUTCOMES or report is Report.EVERYTHING
    assert len(ends.feedback) == is_told
    assert len(ends.dead) == (outcome is Outcome.DEAD_LETTERED)


@pytest.mark.parametrize("outcome", Outcome)
def test_how_a_tracked_one_ended_is_kept(outcome: Outcome) -> None:
    """The end of a tracked notification is kept under its apns id, with every attempt that Apple answered."""
    finish, ends = Finish(outcome=outcome, status=410, reason="Unregistered", unregistered_at=17), Ends()
    leave(ends, replace(make_batch(), track=True), 1, "the-apns-id", finish, sealing=PLAIN, past=Past(attempts=2))
    ended = decode_end("the-apns-id", f"5.5 {ends.tracked['the-apns-id']}")
    assert (ended.outcome, ended.status, ended.reason, ended.attempts) == (outcome, 410, "Unregistered", 3)
    assert (ended.unregistered_at, ended.ended_at) == (17, 5.5)


def test_nothing_else_is_kept() -> None:
    """A notification that is not tracked, or is tried again, keeps nothing."""
    again, ends = Retry(delay_s=1, attempts=1, reason="busy"), Ends()
    leave(ends, replace(make_batch(), track=True), 1, "the-apns-id", again, sealing=PLAIN)
    leave(ends, make_batch(), 1, "the-apns-id", Finish(outcome=Outcome.DELIVERED), sealing=PLAIN)
    assert ends.tracked == {}


def test_a_dead_letter_tells_its_tries() -> None:
    """A dead letter holds the tries before the last."""
    ends = Ends()
    finish, past = Finish(outcome=Outcome.DEAD_LETTERED, reason="x"), Past(history="17 busy; 18 busy")
    leave(ends, make_batch(), 1, "id", finish, sealing=PLAIN, past=past)
    (letter,) = ends.dead
    assert dict(zip(letter[::2], letter[1::2], strict=True))["history"] == "17 busy; 18 busy"


def test_feedback_reads_back() -> None:
    """What is written for the app is what its reader decodes, for exactly the notification that ended."""
    finish = Finish(outcome=Outcome.UNREGISTERED, status=410, reason="Unregistered", unregistered_at=1_700_000_000_000)
    (entry,) = left_by(finish).feedback
    flat = [str(part).encode() for part in [*entry, "at", "5.5"]]
    told = decode(dict(zip(flat[::2], flat[1::2], strict=True)), stream_id="1-0", shard=3, sealing=PLAIN)
    assert (told.outcome, told.apns_id, told.app, told.device_token) == (finish.outcome, "the-apns-id", APP, "bb")
    assert (told.environment, told.push_type) == (Environment.SANDBOX, "alert")
    assert (told.status, told.reason, told.unregistered_at) == (410, "Unregistered", 1_700_000_000_000)
    assert (told.at, told.stream_id, told.shard) == (5.5, "1-0", 3)


def test_a_dead_letter_holds_one_notification_whole() -> None:
    """A dead letter can be sent again as it is: it holds the record of that one notification, byte for byte."""
    (letter,) = left_by(Finish(outcome=Outcome.DEAD_LETTERED, status=503, reason="ServiceUnavailable")).dead
    fields = dict(zip(letter[::2], letter[1::2], strict=True))
    kept = record.decode(b64decode(str(fields["stored"])), dead_letter_place("the-apns-id"), PLAIN)
    assert (kept.device_tokens, kept.payload) == (("bb",), make_batch().payload)
    assert (fields["apns_id"], fields["status"], fields["reason"]) == ("the-apns-id", 503, "ServiceUnavailable")


def test_a_retry_is_only_counted() -> None:
    """A notification that is tried again is counted by its reason, and nobody is told."""
    ends = left_by(Retry(delay_s=60, attempts=1, reason="TooManyRequests"))
    assert (ends.count, ends.feedback, ends.dead) == ({f"retried|{APP}|alert|TooManyRequests": 1}, [], [])


def test_ends_of_a_batch_add_up() -> None:
    """The same end of several notifications is one counter."""
    ends, batch = Ends(), make_batch()
    for index in range(2):
        leave(ends, batch, index, f"id-{index}", Finish(outcome=Outcome.DELIVERED, status=200), sealing=PLAIN)
    assert ends.count == {f"delivered|{APP}|alert|": 2}


@pytest.mark.parametrize(
    ("push_type", "lane"), [("voip", Lane.VOIP), ("mdm", Lane.ALERT), ("widgets", Lane.BACKGROUND)]
)
def test_ends_are_counted_by_lane(push_type: str, lane: Lane) -> None:
    """A counter names the lane that carried the push type."""
    ends = left_by(Finish(outcome=Outcome.DELIVERED, status=200), push_type=push_type)
    assert ends.count == {f"delivered|{APP}|{lane}|": 1}


def test_the_unreadable_is_kept_as_it_is() -> None:
    """What cannot be read is counted and kept byte for byte, with its hash, apart from every app's own."""
    ends, stored = Ends(), b"\xffgarbage"
    digest = leave_unreadable(ends, "the-apns-id", stored, Lane.VOIP, "record cannot be read", accepted_at=1.5)
    assert ends.count == {"dead_lettered|unreadable|voip|unreadable": 1}
    (entry,) = ends.unreadable
    fields = dict(zip(entry[::2], entry[1::2], strict=True))
    assert (fields["apns_id"], fields["reason"], fields["size_bytes"]) == ("the-apns-id", "record cannot be read", 8)
    assert b64decode(str(fields["stored"])) == stored
    assert digest == fields["sha256"] == sha256(stored).hexdigest()
    assert (ends.feedback, ends.dead) == ([], [])


def test_of_the_oversized_the_beginning_is_kept() -> None:
    """Somebody who writes megabytes into a record's place does not fill the dead letters with them."""
    ends, stored = Ends(), b"x" * (MAX_STORED_BYTES + 1)
    leave_unreadable(ends, "the-apns-id", stored, Lane.VOIP, "too long", accepted_at=1.5)
    assert len(str(ends.unreadable)) < 8000
    assert len(stored) in ends.unreadable[0]


@pytest.mark.parametrize(
    ("decisions", "shown"),
    [
        ([], "nothing to do"),
        ([Finish(outcome=Outcome.DELIVERED)], "sent 1"),
        ([Release()] * 3, "given back 3"),
        ([Finish(outcome=Outcome.DEAD_LETTERED), Finish(outcome=Outcome.EXPIRED)], "dead-lettered 1, expired 1"),
        (
            [
                Retry(delay_s=1, attempts=1, reason="Shutdown"),
                *[Finish(outcome=Outcome.DELIVERED)] * 498,
                Finish(outcome=Outcome.UNREGISTERED),
                Finish(outcome=Outcome.REFUSED),
            ],
            "sent 498, retry 1, unregistered 1, refused 1",
        ),
    ],
)
def test_flower_shows_one_short_line(decisions: list[Decision], shown: str) -> None:
    """A task's result counts its ends in words, the most frequent first."""
    assert summary_text(decisions) == shown
