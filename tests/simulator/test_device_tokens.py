"""What the simulator does with the forms of device tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dispatcher.dev.simulator import Form, SimulatorSettings, device_token, special_device_token
from dispatcher.dev.simulator.device_tokens import FORMS, is_well_formed
from dispatcher.dev.simulator.devices import Devices

if TYPE_CHECKING:
    from tests.simulator.running import Run, RunningSimulator

PAYLOAD = b'{"aps":{"alert":"hi"}}'
ANSWERED = tuple(form for form in Form if form is not Form.SILENT and FORMS[form].fault is None)
COUNTED = tuple(form for form in ANSWERED if FORMS[form].is_counted)


@pytest.mark.parametrize("form", ANSWERED)
def test_a_form_is_refused_as_its_row_says(form: Form, apns: RunningSimulator) -> None:
    """A device token of a form gets the status and reason of the form's row, every time."""
    expected = FORMS[form].answer

    with apns.connect() as client:
        for _ in range(3):
            reply = client.ask(apns.headers(device_token=special_device_token(form, 5)), PAYLOAD)

            assert (expected.status, expected.reason) == (reply.status, reply.reason)


@pytest.mark.parametrize("form", COUNTED)
def test_a_counted_form_is_accepted_in_the_end(form: Form, apns: RunningSimulator) -> None:
    """A device token made with a count is refused that often and accepted from then on, each one for itself."""
    statuses = []

    with apns.connect() as client:
        for number in (1, 2):
            headers = apns.headers(device_token=special_device_token(form, number, times=2))
            statuses.append([client.ask(headers, PAYLOAD).status for _ in range(4)])

    refused = FORMS[form].answer.status
    assert statuses == [[refused, refused, 200, 200]] * 2


def test_a_silent_form_is_not_answered_as_often_as_it_says(apns: RunningSimulator) -> None:
    """A device token of the silent form swallows its first pushes, which are logged and stored all the same."""
    token = special_device_token(Form.SILENT, 1, times=1)

    with apns.connect() as client:
        client.ask(apns.headers(), PAYLOAD)
        silent = client.replies[client.start(apns.headers(device_token=token), PAYLOAD)]
        second = client.ask(apns.headers(device_token=token), PAYLOAD)

        assert second.status == 200
        assert not silent.is_whole

    assert [(line["status"], line["answered"]) for line in apns.lines()] == [(200, True), (200, False), (200, True)]


def test_a_burst_to_one_device_is_slowed_down(run: Run) -> None:
    """R1: pushes to one device beyond the burst are refused until the window is over; other devices are not."""
    apns = run(SimulatorSettings(device_burst=3))
    headers = apns.headers()

    with apns.connect() as client:
        statuses = [client.ask(headers, PAYLOAD).status for _ in range(5)]
        other = client.ask(apns.headers(device_token=device_token(99)), PAYLOAD)
        apns.clock.now += 1.0
        later = client.ask(headers, PAYLOAD)

    assert statuses == [200, 200, 200, 429, 429]
    assert (other.status, later.status) == (200, 200)


def test_a_burst_of_zero_sets_no_limit(run: Run) -> None:
    """With the burst set to 0 any number of pushes to one device is accepted."""
    apns = run(SimulatorSettings(device_burst=0))

    with apns.connect() as client:
        statuses = {client.ask(apns.headers(), PAYLOAD).status for _ in range(50)}

    assert statuses == {200}


def test_a_burst_is_still_counted_when_many_other_devices_are() -> None:
    """Tidying up after ten thousand devices forgets those whose window is over, and no other."""
    devices = Devices(burst=1, window_s=1.0)
    for number in range(10_000):
        devices.exceeds_burst(device_token(number), 100.0)
    first = devices.exceeds_burst("aa", 100.9)
    devices.exceeds_burst("bb", 101.5)

    assert not first
    assert devices.exceeds_burst("aa", 101.5)
    assert not devices.exceeds_burst(device_token(0), 101.5)


def test_device_tokens_differ_and_repeat() -> None:
    """The same number gives the same device token, another number another, and all are well-formed."""
    made = [device_token(number) for number in range(1_000)]
    made += [special_device_token(form, number) for form in Form for number in range(100)]

    assert len(made) == len(set(made))
    assert made[:1_000] == [device_token(number) for number in range(1_000)]
    assert {len(each) for each in made} == {64}
    assert all(is_well_formed(each) for each in made)


@pytest.mark.parametrize(("form", "times"), [(Form.BAD, 1), (Form.TOO_MANY_REQUESTS, -1), (Form.SILENT, 256)])
def test_a_count_that_a_form_cannot_hold_is_refused(form: Form, times: int) -> None:
    """A count is for the forms that count, and between 0 and 255."""
    with pytest.raises(ValueError, match="times"):
        special_device_token(form, 1, times=times)
