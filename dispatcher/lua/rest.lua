-- End a wake-up before its slots are drained: the next sweep wakes another worker.
-- KEYS leased, clock
-- ARGV wake-up
redis.call('ZREM', KEYS[1], ARGV[1])
return 1
