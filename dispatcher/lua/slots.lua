-- A device's slot: id and record of its newest notification; while leased also claim and sending.

-- The counter's field is spelled as in redis_keys.counter. A record's header is decoded only for those who asked.
local function note_superseded(record, apns_id, counters, feedback)
  local header = string.match(record, '^[^\n]*')
  redis.call('HINCRBY', counters, 'superseded|' .. (string.match(header, '"app":"([^"]*)"') or 'unreadable') .. '|background|', 1)
  if not string.find(header, '"report":"everything"', 1, true) then return end
  local is_readable, told = pcall(cjson.decode, header)
  if not is_readable then return end
  add_to(feedback, FEEDBACK_LENGTH, {
    'outcome', 'superseded', 'apns_id', apns_id, 'app', told.app, 'environment', told.environment,
    'push_type', told.push_type, 'device_token', told.device_tokens[1], 'status', 0,
    'reason', 'a newer one took its place', 'unregistered_at', 0,
  })
end

-- A leased slot is free again; what it holds is due at the given time.
local function hold_again(slot, device, held, slot_leased, due)
  redis.call('HDEL', slot, 'claim', 'sending')
  redis.call('ZREM', slot_leased, device)
  redis.call('ZADD', held, seconds(due), device)
end

-- Leases that have run out: their workers are dead or stalled. What such a worker was sending has been superseded
-- if a newer one came meanwhile.
local function take_back_expired(held, slot_leased, slot_prefix, most, counters, feedback)
  for _, device in ipairs(redis.call('ZRANGEBYSCORE', slot_leased, '-inf', seconds(now), 'LIMIT', 0, most)) do
    local slot = slot_prefix .. device
    local content = redis.call('HMGET', slot, 'id', 'sending', 'record')
    if content[2] and content[1] ~= content[2] then note_superseded(content[3], content[2], counters, feedback) end
    hold_again(slot, device, held, slot_leased, now)
  end
end

-- Is a wake-up needed? At most one is outstanding: queued, or being worked on.
local function needs_wake_up(queued, leased, wake_up)
  if redis.call('ZSCORE', leased, wake_up) then return false end
  return redis.call('ZADD', queued, 'NX', seconds(now), wake_up) == 1
end
