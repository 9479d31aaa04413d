-- Puts a batch back in the queue it came from; adds what to publish to `moved`.
-- queued_keys is queue -> key; a batch whose queue is none of them goes to the first.
local function requeue(id, prefix, queued_keys, first_queue, moved)
  local claim = prefix .. 'claim:' .. id
  redis.call('HDEL', claim, 'claim', 'lease', 'parked')
  local queue = redis.call('HGET', claim, 'queue')
  if not queued_keys[queue] then queue = first_queue end
  redis.call('ZADD', queued_keys[queue], seconds(now), id)
  moved[#moved + 1] = {queue, id, summary_of(prefix, id)}
end
