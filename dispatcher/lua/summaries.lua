-- What Flower may show of a batch: 'app count', read from the start of its record.
local function summary_of(prefix, id)
  local start = redis.call('GETRANGE', prefix .. 'batch:' .. id, 0, 400)
  local app, count = string.match(start, '"app":"([^"]*)","count":(%d+)')
  return (app or '?') .. ' ' .. (count or '0')
end
