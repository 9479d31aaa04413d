-- Cancel one notification of a batch.
-- KEYS batch, claim, seen, counters, feedback, then every set a batch waits in, clock
-- ARGV batch id, index
-- Returns 'cancelled', 'being_sent', 'ended' or 'unknown'.
local stored, index = redis.call('GET', KEYS[1]), tonumber(ARGV[2])
if not stored then return has_ended(KEYS[3]) and 'ended' or 'unknown' end
local header = header_of(stored)
if not header or index >= header.count then return 'unknown' end
if is_done(done_flags(KEYS[2], header.count), index) then return 'ended' end

local held = redis.call('HMGET', KEYS[2], 'claim', 'unsettled', 'cancelled', 'parked')
-- Without a claim but unsettled: its worker died, and may have sent it. The next one ends it.
if (held[1] or held[2]) and not waits_for_next_try(KEYS[2], index) then
  redis.call('HSET', KEYS[2], 'cancelled', (held[3] or '') .. ' ' .. index)
  return 'being_sent'
end

local flags = end_cancelled(header, KEYS[2], ARGV[1], index, KEYS[4], KEYS[5])
if not held[1] and not string.find(flags, '0', 1, true) then
  for at = 6, #KEYS - 1 do redis.call('ZREM', KEYS[at], ARGV[1]) end
  if held[4] then redis.call('ZREM', held[4], ARGV[1]) end
  redis.call('DEL', KEYS[1], KEYS[2])
  remember_settled(KEYS[3])
end
return 'cancelled'
