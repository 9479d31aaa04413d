-- May one notification be sent though its scope is paused? One at a time, at a growing distance.
-- KEYS paused, clock
-- ARGV scope, by whom a pause is probed, first distance in seconds, longest
-- Returns 1, or 0 when it is not time, or nobody probes.
local pause = read_pause(KEYS[1], ARGV[1])
if not pause or pause.by ~= ARGV[2] or now < pause.probe_at then return 0 end
pause.probes = pause.probes + 1
pause.probe_at = now + math.min(ARGV[4], ARGV[3] * 2 ^ math.min(pause.probes, 20))
write_pause(KEYS[1], ARGV[1], pause)
return 1
