-- Cancel a notification that went into a slot.
-- KEYS slot-of, seen, ended, counters, feedback, clock
-- ARGV apns id
-- Returns 'cancelled', 'being_sent', 'ended' or 'unknown'.
local device = redis.call('GET', KEYS[1])
if not device then return redis.call('EXISTS', KEYS[2], KEYS[3]) > 0 and 'ended' or 'unknown' end
local key = slot_key(device)
local slot = read_slot(key, {'sending', 'record', 'attempts'})
if slot.sending == ARGV[1] then
  redis.call('HSET', key, 'cancelled', 1)
  return 'being_sent'
end
note_end(slot.record, ARGV[1], 'cancelled', 'the app cancelled it', slot.attempts, KEYS[4], KEYS[5])
remember_settled(KEYS[2])
redis.call('DEL', KEYS[1])
if slot.sending then
  forget_newest(key)
else
  local app = app_of(slot.record)
  redis.call('ZREM', shard .. 'held:' .. app, device)
  redis.call('ZREM', shard .. 'slot-parked:' .. app, device)
  redis.call('DEL', key)
end
return 'cancelled'
