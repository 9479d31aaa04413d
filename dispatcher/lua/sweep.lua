-- Put again what is due, and what a dead worker left behind.
-- KEYS leased, due, then one queued per queue of the lane, clock
-- ARGV shard prefix, most ids, then one queue name per queued key
-- Returns {{queue, id, 'app count'}, ...}, {oldest publication per queue or ''}
local moved, queued_keys = {}, {}
for at = 3, #ARGV do queued_keys[ARGV[at]] = KEYS[at] end

for at = 1, 2 do
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[at], '-inf', seconds(now), 'LIMIT', 0, ARGV[2])) do
    redis.call('ZREM', KEYS[at], id)
    requeue(id, ARGV[1], queued_keys, ARGV[3], moved)
  end
end

local oldest = {}
for at = 3, #ARGV do
  local first = redis.call('ZRANGE', KEYS[at], 0, 0, 'WITHSCORES')
  oldest[#oldest + 1] = first[2] or ''
end
return {moved, oldest}
