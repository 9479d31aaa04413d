-- now: the server's own clock, Unix seconds.
local function read_clock()
  local time = redis.call('TIME')
  return time[1] + time[2] / 1000000
end
