-- Note the last answers of a claimed batch and end the claim: forget a finished batch or one that nobody can read, put
-- an unfinished one to wait.
-- KEYS batch, claim, leased, due, seen, feedback, counters, dead, parked, clock
-- ARGV batch id, claim id, size or 0 if nobody can read it, when to look at a parked one again or '', JSON as for progress
-- Returns 1, or 0 when the claim is no longer ours and nothing was written.
if not owns(KEYS[2], ARGV[2]) then return 0 end
local notes = cjson.decode(ARGV[5])
local flags = note_progress(KEYS[2], tonumber(ARGV[3]), notes.ended, notes.waiting)
write_ends(notes.ends, KEYS[6], KEYS[7], KEYS[8])
redis.call('ZREM', KEYS[3], ARGV[1])

local is_readable = ARGV[3] ~= '0'
local cancelled = is_readable and cancelled_indices(KEYS[2]) or {}
local header = #cancelled > 0 and header_of(redis.call('GET', KEYS[1]))
for _, index in ipairs(cancelled) do
  if header and not is_done(flags, index) then
    flags = end_cancelled(header, KEYS[2], ARGV[1], index, KEYS[7], KEYS[6])
  end
end

local due = is_readable and first_due(KEYS[2], flags)
if not due then
  redis.call('DEL', KEYS[1], KEYS[2])
  remember_settled(KEYS[5])
  return 1
end
redis.call('HDEL', KEYS[2], 'claim', 'lease', 'unsettled', 'trying', 'cancelled', 'noted')
-- Everything left was tried by itself and nobody died: whatever killed the worker before, it was none of these.
if due > now then redis.call('HDEL', KEYS[2], 'unblamed') end
if ARGV[4] == '' then
  redis.call('ZADD', KEYS[4], seconds(due), ARGV[1])
else
  redis.call('HSET', KEYS[2], 'parked', KEYS[9])
  redis.call('ZADD', KEYS[9], ARGV[4], ARGV[1])
end
return 1
