-- Publish again what was published before a marker that has come out, and is still unclaimed.
-- KEYS queued, clock
-- ARGV shard prefix, published before, most ids
-- Returns {{id, 'app count'}, ...}
local found = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[2], 'LIMIT', 0, ARGV[3])) do
  redis.call('ZADD', KEYS[1], seconds(now), id)
  found[#found + 1] = {id, summary_of(ARGV[1], id)}
end
return found
