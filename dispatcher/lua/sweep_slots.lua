-- Take back slots of dead workers, and wake a worker where slots are due.
-- KEYS queued, leased, counters, feedback, then held and slot-leased per app, clock
-- ARGV most slots, then one wake-up per app
-- Returns the wake-ups to publish.
local wake_ups = {}
for at = 2, #ARGV do
  local held, slot_leased = KEYS[at * 2 + 1], KEYS[at * 2 + 2]
  take_back_expired(held, slot_leased, ARGV[1], KEYS[3], KEYS[4])
  local due = redis.call('ZRANGEBYSCORE', held, '-inf', stamp, 'LIMIT', 0, 1)
  if #due > 0 and needs_wake_up(KEYS[1], KEYS[2], ARGV[at]) then wake_ups[#wake_ups + 1] = ARGV[at] end
end
return wake_ups
