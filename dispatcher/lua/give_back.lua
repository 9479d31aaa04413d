-- Give slots back with what became of the notification each was sending.
-- KEYS held, slot-leased, feedback, counters, dead, slot-parked, clock
-- ARGV claim id, JSON {{device, apns_id, has_ended, is_parked, counts, delay, attempts, history, ends}, ...}
-- Returns how many were still ours; nothing is written for the others.

-- Corrects what the claim noted of the send, and notes how long the device is left alone.
local function note_sent(slot, item)
  local sent = read_sent(item.device)
  local spacing, at, id, version = string.match(slot.was or '0 - - -', SENT)
  if slot.was and item.counts then
    sent.at = stamp
  elseif slot.was then
    sent.at, sent.id, sent.version = word(at), word(id), word(version)
  end
  if item.delay > 0 then sent.retry_at = seconds(now + item.delay) end
  if slot.was or item.delay > 0 then write_sent(item.device, sent, spacing) end
  return sent
end

local function wait_again(item, slot, sent)
  if slot.id == item.apns_id then
    redis.call('HSET', slot_key(item.device), 'attempts', item.attempts, 'history', item.history)
  end
  if item.is_parked then
    redis.call('HSET', slot_key(item.device), 'parked', 1)
    redis.call('ZADD', KEYS[6], slot.expires or '+inf', item.device)
  else
    hold(item.device, slot, sent, KEYS[1])
  end
end

local function give_back(item, slot)
  local is_newest = slot.id == item.apns_id
  local goes_on = is_newest and not item.has_ended and not slot.cancelled
  if item.has_ended or goes_on then write_ends(item.ends, KEYS[3], KEYS[4], KEYS[5]) end
  if item.has_ended then
    remember_settled(seen_key(item.apns_id))
    redis.call('DEL', slot_of(item.apns_id))
  elseif not goes_on then
    end_sending(slot, KEYS[4], KEYS[3])
  end
  local sent = note_sent(slot, item)
  if goes_on or (slot.id and not is_newest) then
    free(item.device, KEYS[2])
    wait_again(item, slot, sent)
  else
    redis.call('ZREM', KEYS[2], item.device)
    redis.call('DEL', slot_key(item.device))
  end
end

local ours = 0
for _, item in ipairs(cjson.decode(ARGV[2])) do
  local slot = read_slot(slot_key(item.device), {'id', 'record', 'terms', 'waived', 'attempts', unpack(LEASED)})
  if slot.claim == ARGV[1] then
    ours = ours + 1
    give_back(item, slot)
  end
end
return ours
