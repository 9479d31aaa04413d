-- Pause a scope by hand; takes over a pause that workers made.
-- KEYS paused, clock
-- ARGV scope, reason, by
-- Returns 1, or 0 when it was paused by hand already.
local before = read_pause(KEYS[1], ARGV[1])
if before and before.by == ARGV[3] then return 0 end
begin_pause(KEYS[1], ARGV[1], ARGV[2], ARGV[3], 0)
return 1
