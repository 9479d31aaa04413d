-- Accept one batch; one that is to be sent later waits until it is due.
-- KEYS batch, claim, queued, due, counters, seen, clock
-- ARGV batch id, record, counter field, count, digest or '', seconds to remember it, queue, send at or '', expiration or '', most seconds it may be ahead or '', most share of memory or '', '1' if an evicting server is refused, most in this shard's queue or ''
-- Returns 'accepted', 'scheduled', 'repeated', 'conflict', 'expired', 'too_far' or 'too_late'; or an error of guard.lua.
local before = accepted_before(KEYS[6], ARGV[5])
if before then return before end
if redis.call('EXISTS', KEYS[1]) == 1 then return 'repeated' end
local refusal = refused_for_its_time(ARGV[8], ARGV[9], ARGV[10])
if refusal then return refusal end
local send_at = tonumber(ARGV[8])
local is_for_later = send_at and send_at > now
local guarded = refused_by_server(ARGV[11], ARGV[12])
  or not is_for_later and refused_by_queue(KEYS[3], ARGV[13], ARGV[7])
if guarded then return guarded end

if ARGV[5] ~= '' then remember(KEYS[6], ARGV[5], ARGV[6], ARGV[8]) end
redis.call('SET', KEYS[1], seconds(now) .. ' ' .. ARGV[2])
redis.call('HINCRBY', KEYS[5], ARGV[3], ARGV[4])
if is_for_later then
  redis.call('HSET', KEYS[2], 'queue', ARGV[7])
  redis.call('ZADD', KEYS[4], seconds(send_at), ARGV[1])
  return 'scheduled'
end
redis.call('ZADD', KEYS[3], seconds(now), ARGV[1])
return 'accepted'
