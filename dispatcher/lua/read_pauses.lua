-- What is paused?
-- KEYS paused, clock
-- Returns {scope, JSON, ...}
return redis.call('HGETALL', KEYS[1])
