-- May a marker be sent now? One is outstanding at most; a lost one is replaced with back-off.
-- KEYS marker, clock
-- ARGV first patience seconds, longest patience seconds
-- Returns the marker's time, or nil.
local marker = redis.call('HMGET', KEYS[1], 'sent', 'tries')
local tries = tonumber(marker[2] or 0)
if marker[1] then
  local patience = math.min(tonumber(ARGV[2]), ARGV[1] * 2 ^ math.min(tries, 20))
  if now < marker[1] + patience then return nil end
end
redis.call('HSET', KEYS[1], 'sent', seconds(now), 'tries', marker[1] and tries + 1 or 0)
return seconds(now)
