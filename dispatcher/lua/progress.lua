-- Note answers of a claimed batch and renew its lease.
-- KEYS claim, leased, feedback, counters, dead, clock
-- ARGV batch id, claim id, lease seconds, size, index tried next by itself or '', number of the bunch within the claim, JSON {ended = {index}, waiting = {{index, attempts, delay, history}}, ends = {...}}
-- Returns the indices to be cancelled, separated by spaces; nil when the claim is no longer ours and nothing was written.
local held = redis.call('HMGET', KEYS[1], 'claim', 'noted')
if held[1] ~= ARGV[2] then return nil end
local number = tonumber(ARGV[6])
-- A bunch that comes again, because its answer was lost, has been noted.
if number > tonumber(held[2] or 0) then
  local notes = cjson.decode(ARGV[7])
  note_progress(KEYS[1], tonumber(ARGV[4]), notes.ended, notes.waiting)
  write_ends(notes.ends, KEYS[3], KEYS[4], KEYS[5])
  redis.call('HSET', KEYS[1], 'noted', number)
end
local ends = seconds(now + ARGV[3])
redis.call('HSET', KEYS[1], 'lease', ends)
redis.call('ZADD', KEYS[2], ends, ARGV[1])
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'trying', ARGV[5]) end
return redis.call('HGET', KEYS[1], 'cancelled') or ''
