-- Accept one notification into its device's slot; the newest wins.
-- KEYS slot, held, queued, leased, counters, seen, feedback, clock
-- ARGV device, apns id, record, accepted field, digest or '', seconds to remember it, wake-up
-- Returns {'accepted', replaced, wake-up needed}, {'repeated'} or {'conflict'}.
local before = accepted_before(KEYS[6], ARGV[5])
if before then return {before} end
local old = redis.call('HMGET', KEYS[1], 'id', 'sending', 'record')
if old[1] == ARGV[2] then return {'repeated'} end
if ARGV[5] ~= '' then redis.call('SET', KEYS[6], ARGV[5], 'EX', ARGV[6]) end
redis.call('HINCRBY', KEYS[5], ARGV[4], 1)
redis.call('HSET', KEYS[1], 'id', ARGV[2], 'record', ARGV[3], 'at', seconds(now), 'attempts', 0)
local replaced = old[1] and old[1] ~= old[2]
if replaced then note_superseded(old[3], old[1], KEYS[5], KEYS[7]) end
if not old[1] then redis.call('ZADD', KEYS[2], seconds(now), ARGV[1]) end
local wake = not old[1] and needs_wake_up(KEYS[3], KEYS[4], ARGV[7])
return {'accepted', replaced and 1 or 0, wake and 1 or 0}
