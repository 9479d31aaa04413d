-- What time is it?
-- KEYS clock
-- Returns Unix seconds.
return seconds(now)
