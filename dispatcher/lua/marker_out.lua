-- A marker has come out of its queue.
-- KEYS marker, clock
-- ARGV the marker's time
-- Returns how long it travelled, in seconds.
local age = seconds(now - ARGV[1])
redis.call('HSET', KEYS[1], 'age', age)
if redis.call('HGET', KEYS[1], 'sent') == ARGV[1] then redis.call('HDEL', KEYS[1], 'sent', 'tries') end
return age
