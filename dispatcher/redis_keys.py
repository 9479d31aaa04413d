"""Every key in the state server, written down once.

A shard's keys share the hash tag `{NN}`, so that a script touches one slot of a Redis Cluster.

apns:{NN}:batch:<batch id>        string     time of acceptance, a space, the record (see record.py)
apns:{NN}:claim:<batch id>        hash       claim, owner's random id (absent when unclaimed); lease, its end;
                                             unsettled, present from a claim until it is settled; noted, number of
                                             the owner's last bunch of notes; done, a bitmap of
                                             ended notifications; queue, where to put it again; parked, the set it is
                                             parked in; cancelled, indices to be cancelled instead of tried again;
                                             trying, the index sent by itself after a worker died; crash:<index>, how
                                             many workers died of it; unblamed, present when one died of nobody knows
                                             what; <index>, "attempts due history" of one that waits for its next try
apns:{NN}:queued:<queue>          zset       batch id or wake-up -> time of publication, while unclaimed
apns:{NN}:leased:<lane>           zset       batch id or wake-up -> end of the lease
apns:{NN}:due:<lane>              zset       batch id -> when to queue it again
apns:{NN}:parked:<app>:<lane>     zset       batch id of a paused app -> when its first notification expires, or inf
apns:{NN}:slot:<device>           hash       id, apns id of the newest notification; record; terms, "at wanted send_at
                                             expires spacing version", '-' for none: time of acceptance, when its own
                                             terms allow it, ..., seconds between two, the app's count. If so: waived,
                                             its device is online; attempts; history, of its last tries; crashes,
                                             workers that died over it; parked, its app is paused. While leased:
                                             claim, owner's random id; sending, apns id; was, "spacing at id version"
                                             of the send before; cancelled or overtaken, not to be tried again;
                                             sending_header, sending_at and sending_attempts once the newest is
                                             another
apns:{NN}:held:<app>              zset       device -> when its slot may be sent, or expires if that is sooner
apns:{NN}:slot-leased:<app>       zset       device -> end of the lease
apns:{NN}:slot-parked:<app>       zset       device of a paused app -> when its notification expires, or inf
apns:{NN}:sent:<device>           string     "at id version retry_at" of the last send, '-' for none: latest possible
                                             time, apns id, greatest version sent, nothing sooner; expires by
                                             itself
apns:{NN}:slot-of:<apns id>       string     device whose slot holds the notification
apns:{NN}:seen:<apns id>          string     digest of the content accepted under a caller's own apns id or
                                             idempotency key, "reserved " before it if that lies in another shard,
                                             '*' if an id of ours has settled; expiring
apns:{NN}:ended:<apns id>         string     when and how a tracked notification ended; a day
apns:{NN}:feedback                stream     what the app is told, bounded
apns:{NN}:dead:<app>              stream     what could not be sent, bounded; <app> may be unreadable: records and
                                             feedback that were refused, as they lay there
apns:{NN}:counters                hash       event|app|lane|detail -> count; app and lane may be empty
apns:{NN}:touched                 string     empty; written before replicas are waited for, expiring
apns:{00}:turn:<lane>             string     which worker sweeps the lane, expiring; <lane> may be another chore:
                                             feedback, trim
apns:{00}:marker:<queue>          hash       sent, time of the outstanding marker; tries; age, the queue's age in
                                             seconds when a marker last came out
apns:{00}:feedback-call:<app>     hash       sent, when the app's feedback task was called and has not begun yet; tries
apns:{00}:paused                  hash       "app|lane|key id", each or '*' -> JSON of a pause: reason, since, by,
                                             probes, probe_at
apns:{00}:reported:<scope>        hash       host -> when one of its workers reported trouble; expires by itself
apns:{00}:alarmed:<scope>         string     somebody has told of the pause within the last minute, expiring
apns:{00}:workers                 zset       host of a worker and lane -> when it last swept or sent
apns:{NN}:nothing                 -          never there: scripts delete it (even_when_full.lua)
apns:{NN}:clock                   string     seconds added to the server's clock; only read in development
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from dispatcher.push_types import Lane

PREFIX: Final = "apns:"
#: The shard of what exists once for the whole fleet.
FLEET_SHARD: Final = 0
#: Stands for the app of what cannot be read.
UNREADABLE: Final = "unreadable"
_DIGEST_BYTES: Final = 16


def prefix(shard: int) -> str:
    """Return what every key of a shard begins with."""
    return f"{PREFIX}{{{shard:02d}}}:"


def batch(shard: int, batch_id: str) -> str:
    """Return the key of a batch's record."""
    return f"{prefix(shard)}batch:{batch_id}"


def claim(shard: int, batch_id: str) -> str:
    """Return the key of a batch's claim and progress."""
    return f"{prefix(shard)}claim:{batch_id}"


def queued(shard: int, queue: str) -> str:
    """Return the key of what is published and unclaimed."""
    return f"{prefix(shard)}queued:{queue}"


def leased(shard: int, lane: Lane) -> str:
    """Return the key of a lane's leases."""
    return f"{prefix(shard)}leased:{lane}"


def due(shard: int, lane: Lane) -> str:
    """Return the key of a lane's waiting batches."""
    return f"{prefix(shard)}due:{lane}"


def parked(shard: int, app: str, lane: Lane) -> str:
    """Return the key of a paused app's batches."""
    return f"{prefix(shard)}parked:{app}:{lane}"


def slot(shard: int, device: str) -> str:
    """Return the key of a device's slot."""
    return f"{prefix(shard)}slot:{device}"


def held(shard: int, app: str) -> str:
    """Return the key of an app's held slots."""
    return f"{prefix(shard)}held:{app}"


def slot_leased(shard: int, app: str) -> str:
    """Return the key of an app's slots being sent."""
    return f"{prefix(shard)}slot-leased:{app}"


def slot_parked(shard: int, app: str) -> str:
    """Return the key of a paused app's slots."""
    return f"{prefix(shard)}slot-parked:{app}"


def sent(shard: int, device: str) -> str:
    """Return the key of a device's last background send."""
    return f"{prefix(shard)}sent:{device}"


def slot_of(shard: int, apns_id: str) -> str:
    """Return the key that names the slot of a notification."""
    return f"{prefix(shard)}slot-of:{apns_id}"


def ended(shard: int, apns_id: str) -> str:
    """Return the key of how a tracked notification ended."""
    return f"{prefix(shard)}ended:{apns_id}"


def seen(shard: int, apns_id: str) -> str:
    """Return the key that remembers an accepted id."""
    return f"{prefix(shard)}seen:{apns_id}"


def feedback(shard: int) -> str:
    """Return the key of a shard's feedback stream."""
    return f"{prefix(shard)}feedback"


def dead(shard: int, app: str) -> str:
    """Return the key of an app's dead letters."""
    return f"{prefix(shard)}dead:{app}"


def counters(shard: int) -> str:
    """Return the key of a shard's counters."""
    return f"{prefix(shard)}counters"


def touched(shard: int) -> str:
    """Return the key that is written before replicas are waited for."""
    return f"{prefix(shard)}touched"


def clock(shard: int) -> str:
    """Return the key of the development clock's offset."""
    return f"{prefix(shard)}clock"


def turn(chore: str) -> str:
    """Return the key of a chore's turn; sweeping a lane has the lane's name."""
    return f"{prefix(FLEET_SHARD)}turn:{chore}"


def marker(queue: str) -> str:
    """Return the key of a queue's marker."""
    return f"{prefix(FLEET_SHARD)}marker:{queue}"


def feedback_call(app: str) -> str:
    """Return the key of the outstanding call of an app's feedback task."""
    return f"{prefix(FLEET_SHARD)}feedback-call:{app}"


def paused() -> str:
    """Return the key of what is paused."""
    return f"{prefix(FLEET_SHARD)}paused"


def reported(scope: str) -> str:
    """Return the key of who reported trouble with a scope."""
    return f"{prefix(FLEET_SHARD)}reported:{scope}"


def alarmed(scope: str) -> str:
    """Return the key that keeps a pause from being told of more than once a minute."""
    return f"{prefix(FLEET_SHARD)}alarmed:{scope}"


def workers() -> str:
    """Return the key of the workers' last signs of life."""
    return f"{prefix(FLEET_SHARD)}workers"


def device_digest(environment: str, topic: str, device_token: str) -> bytes:
    """Return the 16 bytes that stand for one (environment, topic, device token) in keys."""
    return blake2b(f"{environment}\n{topic}\n{device_token}".encode(), digest_size=_DIGEST_BYTES).digest()


def counter(event: str, app: str, lane: Lane, detail: str = "") -> str:
    """Return the field of a counter."""
    return f"{event}|{app}|{lane}|{detail}"
