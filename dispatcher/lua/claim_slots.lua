-- Take due slots of one app for a limited time; with none left the wake-up is over.
-- KEYS held, slot-leased, queued, leased, counters, feedback, clock
-- ARGV wake-up, claim id, lease seconds, most slots, slot prefix
-- Returns {now, {device, apns id, record, accepted at, attempts}, ...}
redis.call('ZREM', KEYS[3], ARGV[1])
take_back_expired(KEYS[1], KEYS[2], ARGV[5], ARGV[4], KEYS[5], KEYS[6])
local taken, ends = {seconds(now)}, seconds(now + ARGV[3])
for _, device in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', seconds(now), 'LIMIT', 0, ARGV[4])) do
  local slot = ARGV[5] .. device
  local content = redis.call('HMGET', slot, 'id', 'record', 'at', 'attempts')
  redis.call('ZREM', KEYS[1], device)
  if content[1] then
    redis.call('HSET', slot, 'claim', ARGV[2], 'sending', content[1])
    redis.call('ZADD', KEYS[2], ends, device)
    taken[#taken + 1] = {device, content[1], content[2], content[3], content[4]}
  end
end
if #taken == 1 then
  redis.call('ZREM', KEYS[4], ARGV[1])
else
  redis.call('ZADD', KEYS[4], ends, ARGV[1])
end
return taken
