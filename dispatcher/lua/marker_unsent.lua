-- A marker has not been sent: the broker did not take it. The next one need not wait for it.
-- KEYS marker, clock
-- ARGV the marker's time
if redis.call('HGET', KEYS[1], 'sent') == ARGV[1] then redis.call('HDEL', KEYS[1], 'sent', 'tries') end
return 1
