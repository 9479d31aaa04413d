-- When a server should take nothing more; a script that is refused here has written nothing.

local function refuse(code, ...) return redis.error_reply(table.concat({code, ...}, ' ')) end

-- Why nothing should be put on this server: too full, or set up to throw away what it was given. nil when it may, when
-- nobody asks, and when it does not say how it is. The codes are read in guard.py.
local function refused_by_server(most_share, must_keep)
  if most_share == '' then return nil end
  local info = redis.pcall('INFO', 'memory')
  if type(info) ~= 'string' then return nil end
  local policy = string.match(info, 'maxmemory_policy:([%w-]+)')
  if must_keep == '1' and policy and policy ~= 'noeviction' then return refuse('EVICTING', policy) end
  local used, most = string.match(info, 'used_memory:(%d+)'), string.match(info, 'maxmemory:(%d+)')
  if not used or not most or most == '0' or used / most < tonumber(most_share) then return nil end
  return refuse('MEMORYFULL', used, most)
end

-- Why a queue should take no more; its batches are spread evenly over the shards.
local function refused_by_queue(queued, most, queue)
  if most == '' or redis.call('ZCARD', queued) < tonumber(most) then return nil end
  return refuse('QUEUEFULL', queue)
end
