"""Show the demo's account: one table, a column per lane."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from rich.console import Console
from rich.table import Table

from dispatcher.dev.demo.ledger import Account, LaneAccount
from dispatcher.feedback import Outcome
from dispatcher.push_types import Lane

MAX_FAULTS_SHOWN: Final = 20
_Cell = Callable[[LaneAccount], str]


def _number(value: int) -> str:
    return f"{value:,}" if value else "-"


def _outcome(outcome: Outcome) -> _Cell:
    return lambda lane: _number(lane.outcomes.get(outcome, 0))


def _reason(reason: str) -> _Cell:
    return lambda lane: _number(lane.reasons.get(reason, 0))


def _collapse_ratio(lane: LaneAccount) -> str:
    return "-" if lane.collapse_ratio is None else f"{lane.collapse_ratio:.1f} : 1"


def _percentile(percent: float) -> _Cell:
    def cell(lane: LaneAccount) -> str:
        latency_s = lane.percentile(percent)
        return "-" if latency_s is None else f"{latency_s * 1000:,.0f} ms"

    return cell


def _rows(reasons: Iterator[str]) -> Iterator[tuple[str, _Cell]]:
    yield "refused at the call", lambda lane: _number(lane.refused_at_call)
    yield "accepted", lambda lane: _number(lane.accepted)
    yield "  held until due", lambda lane: _number(lane.held)
    yield "  delivered", _outcome(Outcome.DELIVERED)
    yield "  superseded", _outcome(Outcome.SUPERSEDED)
    for reason in reasons:
        yield f"  refused: {reason}", _reason(reason)
    yield "  expired", _outcome(Outcome.EXPIRED)
    yield "  dead-lettered", _outcome(Outcome.DEAD_LETTERED)
    yield "dead letters replayed", lambda lane: _number(lane.replayed)
    yield "collapse ratio", _collapse_ratio
    yield "retried", lambda lane: _number(lane.retried)
    yield "delivered twice", lambda lane: _number(lane.duplicates)
    yield "provider tokens", lambda lane: _number(lane.provider_tokens)
    yield "to APNs, p50", _percentile(50)
    yield "to APNs, p99", _percentile(99)


def make_table(lanes: Mapping[Lane, LaneAccount]) -> Table:
    """Return the table of an account."""
    table = Table("")
    for lane in lanes:
        table.add_column(lane, justify="right")
    reasons = sorted({reason for account in lanes.values() for reason in account.reasons})
    for name, cell in _rows(iter(reasons)):
        table.add_row(name, *(cell(account) for account in lanes.values()))
    return table


def show(account: Account, console: Console) -> None:
    """Print an account: the table, and what does not agree."""
    console.print(make_table(account.lanes))
    accepted = sum(lane.accepted for lane in account.lanes.values())
    if account.is_complete:
        console.print(f"All {accepted:,} notifications are accounted for: sent, received and reported agree.")
        return
    console.print(f"{len(account.faults):,} of {accepted:,} notifications are not accounted for:")
    for fault in account.faults[:MAX_FAULTS_SHOWN]:
        console.print(f"  {fault}", soft_wrap=True, markup=False)
    if len(account.faults) > MAX_FAULTS_SHOWN:
        console.print(f"  and {len(account.faults) - MAX_FAULTS_SHOWN:,} more")
