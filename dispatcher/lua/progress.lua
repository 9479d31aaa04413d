-- Note answers of a claimed batch and renew its lease.
-- KEYS claim, leased, feedback, counters, dead, clock
-- ARGV batch id, claim id, lease seconds, size, JSON {ended = {index}, waiting = {{index, attempts, delay}}, ends = {...}}
-- Returns 1, or 0 when the claim is no longer ours and nothing was written.
if not owns(KEYS[1], ARGV[2]) then return 0 end
local notes = cjson.decode(ARGV[5])
note_progress(KEYS[1], tonumber(ARGV[4]), notes.ended, notes.waiting)
write_ends(notes.ends, KEYS[3], KEYS[4], KEYS[5])
local ends = seconds(now + ARGV[3])
redis.call('HSET', KEYS[1], 'lease', ends)
redis.call('ZADD', KEYS[2], ends, ARGV[1])
return 1
