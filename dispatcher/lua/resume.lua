-- End a pause.
-- KEYS paused, reported, clock
-- ARGV scope, whose pause it has to be or ''
-- Returns 1, or 0 when there is no such pause.
local before = read_pause(KEYS[1], ARGV[1])
if not before or (ARGV[2] ~= '' and before.by ~= ARGV[2]) then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2])
return 1
