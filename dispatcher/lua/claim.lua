-- Take a batch for a limited time.
-- KEYS batch, claim, queued, leased, due, clock
-- ARGV batch id, claim id, lease seconds, queue
-- Returns {'gone'}, {'busy'}, {'waiting'} or {'claimed', now, stored record, claim hash as a flat list}.
local stored = redis.call('GET', KEYS[1])
if not stored then
  redis.call('ZREM', KEYS[3], ARGV[1])
  return {'gone'}
end
local lease = redis.call('HMGET', KEYS[2], 'claim', 'lease')
if lease[1] and lease[1] ~= ARGV[2] and tonumber(lease[2]) > now then return {'busy'} end
local due = redis.call('ZSCORE', KEYS[5], ARGV[1])
if due and tonumber(due) > now then return {'waiting'} end
local ends = seconds(now + ARGV[3])
redis.call('HSET', KEYS[2], 'claim', ARGV[2], 'lease', ends, 'queue', ARGV[4])
redis.call('HINCRBY', KEYS[2], 'claims', 1)
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[5], ARGV[1])
redis.call('ZADD', KEYS[4], ends, ARGV[1])
return {'claimed', seconds(now), stored, redis.call('HGETALL', KEYS[2])}
