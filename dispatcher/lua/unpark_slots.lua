-- Hold parked slots of one app again, due now, and wake a worker for them.
-- KEYS slot-parked, held, queued, leased, clock
-- ARGV only those to be looked at before this time, most slots, wake-up
-- Returns whether the wake-up is to be published.
local is_due = false
for _, device in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])) do
  redis.call('ZREM', KEYS[1], device)
  redis.call('ZADD', KEYS[2], seconds(now), device)
  is_due = true
end
return is_due and needs_wake_up(KEYS[3], KEYS[4], ARGV[3]) and 1 or 0
