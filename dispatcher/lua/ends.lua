-- Ends that no worker decides.

-- Was the id of a batch that is not there accepted once? A reservation is of a notification in another shard.
local function has_ended(seen)
  local known = redis.call('GET', seen)
  return known and string.sub(known, 1, 9) ~= 'reserved '
end

-- The header of a stored record, decoded; nil when it cannot be read.
local function header_of(stored)
  local is_readable, header = pcall(cjson.decode, string.match(stored, '^%S+ ([^\n]*)') or '')
  return is_readable and is_header(header) and header or nil
end

-- The id of a batch's n-th notification; see ids.py.
local function apns_id_of(batch_id, index)
  if index == 0 then return batch_id end
  return string.sub(batch_id, 1, -5) .. string.format('%04x', index)
end

-- The counter's field is spelled as in redis_keys.counter, the reason as in endings.py.
local function note_cancelled(header, index, apns_id, attempts, counters, feedback)
  local reason = 'the app cancelled it'
  redis.call('HINCRBY', counters, 'cancelled|' .. header.app .. '|' .. header.lane .. '|' .. reason, 1)
  add_to(feedback, FEEDBACK_LENGTH, {
    'outcome', 'cancelled', 'apns_id', apns_id, 'app', header.app, 'environment', header.environment,
    'push_type', header.push_type, 'device_token', header.device_tokens[index + 1], 'status', 0,
    'reason', reason, 'unregistered_at', 0,
  })
  if header.track then
    remember_end(counters, apns_id, cjson.encode({
      outcome = 'cancelled', status = 0, reason = reason, attempts = attempts, unregistered_at = 0,
    }))
  end
end

-- Ends a notification of a batch as cancelled; returns the done flags.
local function end_cancelled(header, claim, batch_id, index, counters, feedback)
  local wait = redis.call('HGET', claim, index)
  local attempts = wait and tonumber(string.match(wait, '^%d+')) or 0
  note_cancelled(header, index, apns_id_of(batch_id, index), attempts, counters, feedback)
  return note_progress(claim, header.count, {index}, {})
end
