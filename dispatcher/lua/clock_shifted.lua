-- now: the server's clock moved by the shard's clock key (always the last key). Never loaded in production.
local function read_clock()
  local time = redis.call('TIME')
  return time[1] + time[2] / 1000000 + (redis.call('GET', KEYS[#KEYS]) or 0)
end
