-- Promise an id to one content whose notification lies in another shard; here it belongs to no other.
-- KEYS seen, batch, clock
-- ARGV digest, seconds to remember it, send at or '', expiration or '', most seconds it may be ahead or '', most share of memory or '', '1' if an evicting server is refused
-- Returns 'accepted', 'repeated', 'conflict', 'expired', 'too_far' or 'too_late'; or an error of guard.lua.
if redis.call('GET', KEYS[1]) == '*' or redis.call('EXISTS', KEYS[2]) == 1 then return 'conflict' end
local before = accepted_before(KEYS[1], ARGV[1])
if before then return before end
local refusal = refused_for_its_time(ARGV[3], ARGV[4], ARGV[5])
if refusal then return refusal end
local guarded = refused_by_server(ARGV[6], ARGV[7])
if guarded then return guarded end
remember(KEYS[1], ARGV[1], ARGV[2], ARGV[3])
return 'accepted'
