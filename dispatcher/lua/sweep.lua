-- Put again what is due, and what a dead worker left behind.
-- KEYS leased, due, then one queued per queue of the lane, clock
-- ARGV shard prefix, most ids, then one queue name per queued key
-- Returns {{queue, id, 'app count'}, ...}, {oldest publication per queue or ''}
local moved, queued_keys = {}, {}
for at = 3, #ARGV do queued_keys[ARGV[at]] = KEYS[at] end

local function requeue(id)
  local claim = ARGV[1] .. 'claim:' .. id
  redis.call('HDEL', claim, 'claim', 'lease')
  local queue = redis.call('HGET', claim, 'queue')
  if not queued_keys[queue] then queue = ARGV[3] end
  redis.call('ZADD', queued_keys[queue], seconds(now), id)
  moved[#moved + 1] = {queue, id, summary_of(ARGV[1], id)}
end

for at = 1, 2 do
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[at], '-inf', seconds(now), 'LIMIT', 0, ARGV[2])) do
    redis.call('ZREM', KEYS[at], id)
    requeue(id)
  end
end

local oldest = {}
for at = 3, #ARGV do
  local first = redis.call('ZRANGE', KEYS[at], 0, 0, 'WITHSCORES')
  oldest[#oldest + 1] = first[2] or ''
end
return {moved, oldest}
