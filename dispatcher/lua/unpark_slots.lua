-- Hold parked slots of one app again, each until it may be sent, and wake a worker if one is due.
-- KEYS slot-parked, held, queued, leased, clock
-- ARGV only those to be looked at before this time, most slots, wake-up
-- Returns whether the wake-up is to be published.
local is_due = false
for _, device in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])) do
  local slot = read_slot(slot_key(device), {'id', 'terms', 'waived'})
  redis.call('ZREM', KEYS[1], device)
  if slot.id then
    redis.call('HDEL', slot_key(device), 'parked')
    is_due = hold(device, slot, read_sent(device), KEYS[2]) <= instant or is_due
  end
end
return is_due and needs_wake_up(KEYS[3], KEYS[4], ARGV[3]) and 1 or 0
