-- Note the last answers of a claimed batch and end the claim: forget a finished batch, put an unfinished one to wait.
-- KEYS batch, claim, leased, due, seen, feedback, counters, dead, parked, clock
-- ARGV batch id, claim id, size, when to look at a parked one again or '', JSON as for progress
-- Returns 1, or 0 when the claim is no longer ours and nothing was written.
if not owns(KEYS[2], ARGV[2]) then return 0 end
local notes = cjson.decode(ARGV[5])
local flags = note_progress(KEYS[2], tonumber(ARGV[3]), notes.ended, notes.waiting)
write_ends(notes.ends, KEYS[6], KEYS[7], KEYS[8])
redis.call('ZREM', KEYS[3], ARGV[1])
local due = first_due(KEYS[2], flags)
if due then
  redis.call('HDEL', KEYS[2], 'claim', 'lease')
  local waits, when = KEYS[4], seconds(due)
  if ARGV[4] ~= '' then waits, when = KEYS[9], ARGV[4] end
  redis.call('ZADD', waits, when, ARGV[1])
else
  redis.call('DEL', KEYS[1], KEYS[2])
  remember_settled(KEYS[5])
end
return 1
