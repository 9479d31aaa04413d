-- Take a batch for a limited time.
-- KEYS batch, claim, queued, leased, due, clock
-- ARGV batch id, claim id, lease seconds, queue
-- Returns {'gone'}, {'busy'}, {'waiting'} or {'claimed', now, stored record, claim hash as a flat list}.
local stored = redis.call('GET', KEYS[1])
if not stored then
  redis.call('ZREM', KEYS[3], ARGV[1])
  return {'gone'}
end
local held = redis.call('HMGET', KEYS[2], 'claim', 'lease', 'parked', 'noted')
local is_mine = held[1] == ARGV[2]
if held[1] and not is_mine and tonumber(held[2]) > now then return {'busy'} end
if held[3] then return {'waiting'} end
local due = redis.call('ZSCORE', KEYS[5], ARGV[1])
if due and tonumber(due) > now then return {'waiting'} end
if not is_mine then blame_for_death(KEYS[2], stored) end
local ends = seconds(now + ARGV[3])
local noted = is_mine and held[4] or 0
redis.call('HSET', KEYS[2], 'claim', ARGV[2], 'lease', ends, 'queue', ARGV[4], 'unsettled', 1, 'noted', noted)
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[5], ARGV[1])
redis.call('ZADD', KEYS[4], ends, ARGV[1])
return {'claimed', seconds(now), stored, redis.call('HGETALL', KEYS[2])}
