-- How did a tracked notification end?
-- KEYS ended, clock
-- Returns nil, or '<time> <JSON>'.
return redis.call('GET', KEYS[1])
