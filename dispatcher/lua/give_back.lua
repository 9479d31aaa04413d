-- Give slots back with what became of the notification each was sending.
-- KEYS held, slot-leased, feedback, counters, dead, clock
-- ARGV claim id, slot prefix, seen prefix, JSON {{device, apns id, delay or -1 when it ended, attempts, ends}, ...}
-- Returns how many were still ours; nothing is written for the others.
local ours = 0
for _, item in ipairs(cjson.decode(ARGV[4])) do
  local device, apns_id, delay, attempts = item[1], item[2], item[3], item[4]
  local slot = ARGV[2] .. device
  local content = redis.call('HMGET', slot, 'claim', 'id', 'record')
  if content[1] == ARGV[1] then
    ours = ours + 1
    local newest = content[2] == apns_id
    if delay < 0 or newest then write_ends(item[5], KEYS[3], KEYS[4], KEYS[5]) end
    if delay < 0 then remember_settled(ARGV[3] .. apns_id) end
    if delay < 0 and newest then
      redis.call('ZREM', KEYS[2], device)
      redis.call('DEL', slot)
    elseif newest then
      redis.call('HSET', slot, 'attempts', attempts)
      hold_again(slot, device, KEYS[1], KEYS[2], now + delay)
    else
      if delay >= 0 then note_superseded(content[3], apns_id, KEYS[4], KEYS[3]) end
      hold_again(slot, device, KEYS[1], KEYS[2], now)
    end
  end
end
return ours
