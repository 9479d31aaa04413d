-- What happens to slots at the end of a lease.
local VERSION_MEMORY_S, MEMORY_MARGIN_S = 86400, 60
local LEASED = {'sending', 'sending_header', 'sending_at', 'sending_attempts', 'cancelled', 'overtaken', 'was', 'claim'}

-- Remembers a device's last send as long as anything depends on it.
local function write_sent(device, sent, spacing)
  local key = shard .. 'sent:' .. device
  local lives_s = math.max((tonumber(sent.at) or 0) + spacing, tonumber(sent.retry_at) or 0) - now
  if sent.version then lives_s = math.max(lives_s, VERSION_MEMORY_S) end
  if lives_s <= 0 then return redis.call('DEL', key) end
  local words = {sent.at or '-', sent.id or '-', sent.version or '-', sent.retry_at or '-'}
  redis.call('SET', key, table.concat(words, ' '), 'EX', math.ceil(lives_s) + MEMORY_MARGIN_S)
end

-- What was being sent will not be tried again: somebody cancelled it, or there is newer news.
local function end_sending(slot, counters, feedback)
  local header, attempts = slot.sending_header or slot.record, slot.sending_attempts or slot.attempts
  if slot.cancelled then
    note_end(header, slot.sending, 'cancelled', 'the app cancelled it', attempts, counters, feedback)
    remember_settled(seen_key(slot.sending))
  else
    note_end(header, slot.sending, 'superseded', slot.overtaken or A_NEWER_ONE, attempts, counters, feedback)
  end
  redis.call('DEL', slot_of(slot.sending))
end

local function free(device, slot_leased)
  redis.call('HDEL', slot_key(device), unpack(LEASED))
  redis.call('ZREM', slot_leased, device)
end

local function read_leased_slot(device)
  return read_slot(slot_key(device), {'id', 'record', 'terms', 'waived', 'attempts', unpack(LEASED)})
end

-- Frees a slot that nobody gives back.
local function take_back(device, slot, has_died, held, slot_leased, counters, feedback)
  local key, is_newest = slot_key(device), slot.id == slot.sending
  if slot.cancelled or not is_newest then end_sending(slot, counters, feedback) end
  free(device, slot_leased)
  if not slot.id or (is_newest and slot.cancelled) then
    redis.call('DEL', key)
  else
    if is_newest and has_died then redis.call('HINCRBY', key, 'crashes', 1) end
    hold(device, slot, read_sent(device), held)
  end
end

-- Leases that have run out: their workers are dead or stalled, and may have sent what they held.
local function take_back_expired(held, slot_leased, most, counters, feedback)
  for _, device in ipairs(redis.call('ZRANGEBYSCORE', slot_leased, '-inf', stamp, 'LIMIT', 0, most)) do
    take_back(device, read_leased_slot(device), true, held, slot_leased, counters, feedback)
  end
end
