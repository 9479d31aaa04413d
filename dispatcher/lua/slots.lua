-- A device's slot, see redis_keys: its newest notification, with the terms it came with; while leased also what is being
-- sent, in fields that begin with sending once a newer one took the others.
local shard, stamp = beside(KEYS[1], ''), seconds(now)
-- now as it is stored, so that nothing looks earlier or later by rounding.
local instant = tonumber(stamp)
local A_NEWER_ONE = 'a newer one took its place'

local function slot_key(device) return shard .. 'slot:' .. device end
local function slot_of(apns_id) return shard .. 'slot-of:' .. apns_id end
local function seen_key(apns_id) return shard .. 'seen:' .. apns_id end
local function header_of(record) return string.match(record, '^[^\n]*') end
-- As record.py begins it.
local function app_of(record) return string.match(record, '^{"v":%d+,"app":"([^"]*)"') or 'unreadable' end

-- What is always read and written together lies in one string of words, '-' for none: that is cheapest.
local SENT, TERMS = '(%S+) (%S+) (%S+) (%S+)', '(%S+) (%S+) (%S+) (%S+) (%S+) (%S+)'
local function word(value) return value ~= '-' and value or nil end

-- Reads fields of a slot, the terms taken apart; what is absent is false or nil.
local function read_slot(key, names)
  local values, slot = redis.call('HMGET', key, unpack(names)), {}
  for at = 1, #names do slot[names[at]] = values[at] end
  if slot.terms then
    local at, wanted, send_at, expires, spacing, version = string.match(slot.terms, TERMS)
    slot.at, slot.wanted, slot.send_at = at, wanted, word(send_at)
    slot.expires, slot.spacing, slot.version = word(expires), spacing, word(version)
  end
  return slot
end

local function read_sent(device)
  local sent = redis.call('GET', shard .. 'sent:' .. device)
  if not sent then return {} end
  local at, id, version, retry_at = string.match(sent, SENT)
  return {at = word(at), id = word(id), version = word(version), retry_at = word(retry_at)}
end

-- When the newest notification of a slot may be sent. A retry is a matter of the device, so that newer news cannot jump
-- it; what may have been sent before has used up its budget already.
local function allowed_at(slot, sent)
  local retry_at, spacing = tonumber(sent.retry_at) or 0, tonumber(slot.spacing)
  if slot.waived then return math.max(instant, retry_at, tonumber(slot.send_at) or 0) end
  local allowed = math.max(retry_at, slot.wanted)
  if spacing > 0 and sent.at and sent.id ~= slot.id then allowed = math.max(allowed, sent.at + spacing) end
  return allowed
end

-- When a worker has to look at a slot: it may be sent, or has expired.
local function due_at(slot, sent) return math.min(allowed_at(slot, sent), tonumber(slot.expires) or math.huge) end

local function hold(device, slot, sent, held)
  local due = due_at(slot, sent)
  redis.call('ZADD', held, seconds(due), device)
  return due
end

-- Is a wake-up needed? At most one is outstanding: queued, or being worked on.
local function needs_wake_up(queued, leased, wake_up)
  if redis.call('ZSCORE', leased, wake_up) then return false end
  return redis.call('ZADD', queued, 'NX', stamp, wake_up) == 1
end

-- Tells those who asked of an end without a worker.
local function tell_end(header, apns_id, outcome, reason, attempts, counters, feedback)
  if string.find(header, '"track":true', 1, true) then
    remember_end(counters, apns_id, cjson.encode({
      outcome = outcome, status = 0, reason = reason, attempts = tonumber(attempts) or 0, unregistered_at = 0,
    }))
  end
  if outcome == 'superseded' and not string.find(header, '"report":"everything"', 1, true) then return end
  local is_readable, told = pcall(cjson.decode, header)
  if not (is_readable and is_header(told)) then return end
  add_to(feedback, FEEDBACK_LENGTH, {
    'outcome', outcome, 'apns_id', apns_id, 'app', told.app, 'environment', told.environment,
    'push_type', told.push_type, 'device_token', told.device_tokens[1], 'status', 0,
    'reason', reason, 'unregistered_at', 0,
  })
end

-- Writes what an end without a worker leaves behind, given the record or its header. The counter's field is spelled as in
-- redis_keys.counter. Being superseded is cheap: a record is only taken apart if it may ask for more.
local function note_end(record, apns_id, outcome, reason, attempts, counters, feedback)
  redis.call('HINCRBY', counters, outcome .. '|' .. app_of(record) .. '|background|', 1)
  local asks = string.find(record, '"track":true', 1, true) or string.find(record, '"report":"everything"', 1, true)
  if asks or outcome ~= 'superseded' then
    tell_end(header_of(record), apns_id, outcome, reason, attempts, counters, feedback)
  end
end

-- Keeps what is about to go of the notification being sent.
local function keep_sending(key, slot)
  local header, attempts = header_of(slot.record), slot.attempts or 0
  redis.call('HSET', key, 'sending_header', header, 'sending_at', slot.at, 'sending_attempts', attempts)
end

local function forget_newest(key)
  redis.call('HDEL', key, 'id', 'record', 'terms', 'waived', 'attempts', 'crashes', 'history')
end
