-- Accept one batch.
-- KEYS batch, queued, counters, seen, clock
-- ARGV batch id, record, counter field, count, digest of a caller's own id or '', seconds to remember it
-- Returns 'accepted', 'repeated' or 'conflict'.
local before = accepted_before(KEYS[4], ARGV[5])
if before then return before end
if redis.call('EXISTS', KEYS[1]) == 1 then return 'repeated' end
if ARGV[5] ~= '' then redis.call('SET', KEYS[4], ARGV[5], 'EX', ARGV[6]) end
redis.call('SET', KEYS[1], seconds(now) .. ' ' .. ARGV[2])
redis.call('ZADD', KEYS[2], seconds(now), ARGV[1])
redis.call('HINCRBY', KEYS[3], ARGV[3], ARGV[4])
return 'accepted'
