-- A worker's host has trouble with a scope: pause it once a second host says so, or the only one says so again.
-- KEYS paused, reported, workers, clock
-- ARGV scope, host, reason, by, is it certain ('1'), seconds a report counts, seconds a sign of life counts, first probe after, '1' if this report may have been made before
-- Returns 1 when the scope is paused, else 0.
if read_pause(KEYS[1], ARGV[1]) then return 1 end

local function is_confirmed()
  local elsewhere, here = false, false
  local reports = redis.call('HGETALL', KEYS[2])
  for at = 1, #reports, 2 do
    if tonumber(reports[at + 1]) > now - ARGV[6] then
      if reports[at] == ARGV[2] then here = true else elsewhere = true end
    end
  end
  if elsewhere then return true end
  -- A report that comes again, because its answer was lost, confirms nothing.
  if not here or ARGV[9] == '1' then return false end
  for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], seconds(now - ARGV[7]), '+inf')) do
    if string.match(worker, '^(.*):[^:]*:[^:]*$') ~= ARGV[2] then return false end
  end
  return true
end

if ARGV[5] == '1' or is_confirmed() then
  begin_pause(KEYS[1], ARGV[1], ARGV[3], ARGV[4], ARGV[8])
  redis.call('DEL', KEYS[2])
  return 1
end
redis.call('HSET', KEYS[2], ARGV[2], seconds(now))
redis.call('EXPIRE', KEYS[2], ARGV[6])
return 0
