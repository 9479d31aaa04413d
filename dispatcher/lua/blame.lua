-- A claim that is found unsettled had a worker that died, or stalled for too long, with some notification in its
-- hands. Known is which if it was the only one: the one it was trying with care, or the last one left. If it is not
-- known, the crash counts for whoever is blamed next.
local function last_one_left(claim, stored)
  local count = tonumber(string.match(string.sub(stored, 1, 400), '"count":(%d+)') or 0)
  local flags, left = done_flags(claim, count), nil
  for index = 0, count - 1 do
    if not is_done(flags, index) then
      if left then return nil end
      left = index
    end
  end
  return left
end

local function blame_for_death(claim, stored)
  local found = redis.call('HMGET', claim, 'unsettled', 'trying', 'unblamed')
  if not found[1] then return end
  local suspect = found[2] or last_one_left(claim, stored)
  if suspect then
    redis.call('HINCRBY', claim, 'crash:' .. suspect, found[3] and 2 or 1)
    redis.call('HDEL', claim, 'trying', 'unblamed')
  else
    redis.call('HSET', claim, 'unblamed', 1)
  end
end
