-- Remove what has lain in streams for too long.
-- KEYS feedback, then dead per app, clock
-- ARGV seconds that feedback is kept, seconds that dead letters are kept
-- Returns how many entries were removed.
local server_s = redis.call('TIME')[1]  -- entries are named by the server's own clock
local removed = 0
for at = 1, #KEYS - 1 do
  local oldest_ms = string.format('%.0f', (server_s - (at == 1 and ARGV[1] or ARGV[2])) * 1000)
  local trimmed = redis.call('XTRIM', KEYS[at], 'MINID', oldest_ms)
  count_trimmed(KEYS[at], trimmed)
  removed = removed + trimmed
end
return removed
