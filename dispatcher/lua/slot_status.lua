-- Tell how far a notification that went into a slot has come.
-- KEYS slot-of, clock
-- ARGV apns id
-- Returns {accepted at, may be sent at, attempts, is being sent, is parked}, or nil when no slot holds it.
local device = redis.call('GET', KEYS[1])
if not device then return nil end
local slot = read_slot(slot_key(device), {
  'id', 'terms', 'waived', 'parked', 'attempts', 'sending', 'sending_at', 'sending_attempts',
})
if slot.sending == ARGV[1] then
  return {slot.sending_at or slot.at, stamp, tonumber(slot.sending_attempts or slot.attempts or 0), 1, 0}
end
return {slot.at, seconds(allowed_at(slot, read_sent(device))), tonumber(slot.attempts or 0), 0, slot.parked and 1 or 0}
