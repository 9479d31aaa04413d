local now = read_clock()
local function seconds(value) return string.format('%.6f', value) end

local FEEDBACK_LENGTH, DEAD_LENGTH = 100000, 10000
local SETTLED_MEMORY_S, TRACKED_MEMORY_S = 3600, 86400

-- Another key of the shard that a key is in.
local function beside(key, name) return string.match(key, '^.-}:') .. name end

-- Counts what was trimmed from a stream; the field is spelled as in redis_keys.counter.
local function count_trimmed(stream, removed)
  if removed == 0 then return end
  local dead_app = string.match(stream, '}:dead:(.*)$')
  local field = dead_app and 'dead_trimmed|' .. dead_app .. '||' or 'feedback_trimmed|||'
  redis.call('HINCRBY', beside(stream, 'counters'), field, removed)
end

-- Adds a list of field, value, ... with the time to a bounded stream.
local function add_to(stream, length, entry)
  entry[#entry + 1] = 'at'
  entry[#entry + 1] = seconds(now)
  redis.call('XADD', stream, '*', unpack(entry))
  count_trimmed(stream, redis.call('XTRIM', stream, 'MAXLEN', '~', length))
end

-- Keeps how a tracked notification ended.
local function remember_end(counters, apns_id, how)
  redis.call('SET', beside(counters, 'ended:' .. apns_id), seconds(now) .. ' ' .. how, 'EX', TRACKED_MEMORY_S)
end

-- Writes what ended notifications leave behind: {count = {field = n}, feedback = {...}, dead = {...},
-- unreadable = {...}, tracked = {id = how}}.
local function write_ends(ends, feedback, counters, dead)
  for field, count in pairs(ends.count) do redis.call('HINCRBY', counters, field, count) end
  for _, entry in ipairs(ends.feedback) do add_to(feedback, FEEDBACK_LENGTH, entry) end
  for _, entry in ipairs(ends.dead) do add_to(dead, DEAD_LENGTH, entry) end
  for _, entry in ipairs(ends.unreadable) do add_to(beside(counters, 'dead:unreadable'), DEAD_LENGTH, entry) end
  for apns_id, how in pairs(ends.tracked) do remember_end(counters, apns_id, how) end
end

-- What a decoded header of a record must hold, or scripts would stumble over what somebody else wrote.
local function is_header(header)
  if type(header) ~= 'table' then return false end
  for _, name in ipairs({'app', 'environment', 'push_type', 'lane'}) do
    if type(header[name]) ~= 'string' then return false end
  end
  local device_tokens, count = header.device_tokens, header.count
  if type(device_tokens) ~= 'table' or type(count) ~= 'number' or #device_tokens ~= count then return false end
  for _, device_token in ipairs(device_tokens) do
    if type(device_token) ~= 'string' then return false end
  end
  return true
end

-- Has this id been accepted before? Returns nil, 'repeated' or 'conflict'.
local function accepted_before(seen, digest)
  local known = redis.call('GET', seen)
  if not known then return nil end
  if known == '*' or digest == '' or known == digest then return 'repeated' end
  return 'conflict'
end

-- A settled id stays known for a while, so that a caller who was left in doubt may send it again.
local function remember_settled(seen) redis.call('SET', seen, '*', 'NX', 'EX', SETTLED_MEMORY_S) end
