-- Put parked batches of one app and lane back in their queues.
-- KEYS parked, then one queued per queue of the lane, clock
-- ARGV shard prefix, only those to be looked at before this time, most ids, then one queue name per queued key
-- Returns {{queue, id, 'app count'}, ...}
local moved, queued_keys = {}, {}
for at = 4, #ARGV do queued_keys[ARGV[at]] = KEYS[at - 2] end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])) do
  redis.call('ZREM', KEYS[1], id)
  requeue(id, ARGV[1], queued_keys, ARGV[4], moved)
end
return moved
