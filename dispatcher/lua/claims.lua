-- What lies in a claim hash besides its named fields: '<index>' -> 'attempts due history', 'crash:<index>' -> how
-- often its worker died.

local function owns(claim, claim_id) return redis.call('HGET', claim, 'claim') == claim_id end

local function done_flags(claim, size)
  return redis.call('HGET', claim, 'done') or string.rep('0', size)
end

local function is_done(flags, index) return string.sub(flags, index + 1, index + 1) == '1' end

-- Marks ended notifications and notes when waiting ones are due; returns the done flags.
local function note_progress(claim, size, ended, waiting)
  local flags = done_flags(claim, size)
  local trying = redis.call('HGET', claim, 'trying')
  local has_survived = false
  if #ended > 0 then
    local bits = {}
    for at = 1, size do bits[at] = string.sub(flags, at, at) end
    for _, index in ipairs(ended) do
      bits[index + 1] = '1'
      redis.call('HDEL', claim, index, 'crash:' .. index)
      has_survived = has_survived or tostring(index) == trying
    end
    flags = table.concat(bits)
    redis.call('HSET', claim, 'done', flags)
  end
  for _, wait in ipairs(waiting) do
    redis.call('HSET', claim, wait[1], wait[2] .. ' ' .. seconds(now + wait[3]) .. ' ' .. wait[4])
    has_survived = has_survived or tostring(wait[1]) == trying
  end
  if has_survived then redis.call('HDEL', claim, 'trying') end
  return flags
end

local function waits_for_next_try(claim, index)
  local wait = redis.call('HGET', claim, index)
  return wait and tonumber(string.match(wait, '^%S+ (%S+)')) > now
end

-- When the first notification that has not ended is due; nil when all have.
local function first_due(claim, flags)
  local earliest
  for at = 1, #flags do
    if string.sub(flags, at, at) == '0' then
      local wait = redis.call('HGET', claim, at - 1)
      local due = wait and tonumber(string.match(wait, '^%S+ (%S+)')) or now
      if not earliest or due < earliest then earliest = due end
    end
  end
  return earliest
end

-- The indices that are to be cancelled as soon as their worker is done with them.
local function cancelled_indices(claim)
  local indices = {}
  for index in string.gmatch(redis.call('HGET', claim, 'cancelled') or '', '%d+') do
    indices[#indices + 1] = tonumber(index)
  end
  return indices
end
