-- What lies in the hash of pauses: scope -> JSON {reason, since, by, probes, probe_at}.
local function read_pause(paused, scope)
  local stored = redis.call('HGET', paused, scope)
  return stored and cjson.decode(stored)
end

local function write_pause(paused, scope, pause) redis.call('HSET', paused, scope, cjson.encode(pause)) end

local function begin_pause(paused, scope, reason, by, first_probe)
  write_pause(paused, scope, {reason = reason, since = now, by = by, probes = 0, probe_at = now + first_probe})
end
