-- What lies in a claim hash besides its named fields: '<index>' -> 'attempts due'.
local function owns(claim, claim_id) return redis.call('HGET', claim, 'claim') == claim_id end

local function done_flags(claim, size)
  return redis.call('HGET', claim, 'done') or string.rep('0', size)
end

-- Marks ended notifications and notes when waiting ones are due; returns the done flags.
local function note_progress(claim, size, ended, waiting)
  local flags = done_flags(claim, size)
  if #ended > 0 then
    local bits = {}
    for at = 1, size do bits[at] = string.sub(flags, at, at) end
    for _, index in ipairs(ended) do
      bits[index + 1] = '1'
      redis.call('HDEL', claim, index)
    end
    flags = table.concat(bits)
    redis.call('HSET', claim, 'done', flags)
  end
  for _, wait in ipairs(waiting) do
    redis.call('HSET', claim, wait[1], wait[2] .. ' ' .. seconds(now + wait[3]))
  end
  if #ended + #waiting > 0 then redis.call('HSET', claim, 'claims', 0) end
  return flags
end

-- When the first notification that has not ended is due; nil when all have.
local function first_due(claim, flags)
  local earliest
  for at = 1, #flags do
    if string.sub(flags, at, at) == '0' then
      local wait = redis.call('HGET', claim, at - 1)
      local due = wait and tonumber(string.match(wait, ' (.+)$')) or now
      if not earliest or due < earliest then earliest = due end
    end
  end
  return earliest
end
