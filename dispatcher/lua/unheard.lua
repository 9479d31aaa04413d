-- Which apps have feedback in this shard that their task was not given, or did not acknowledge in time?
-- KEYS feedback, clock
-- ARGV group prefix, milliseconds after which what was given is abandoned, most entries to look at, then one app each
-- Returns the apps. A group is made when there is something for it, and passes over what is for other apps.
if redis.call('EXISTS', KEYS[1]) == 0 then return {} end

local function value_of(flat, name)
  for at = 1, #flat, 2 do if flat[at] == name then return flat[at + 1] end end
end

local heard = {}
for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  heard[value_of(info, 'name')] = value_of(info, 'last-delivered-id')
end

local function has_unheard(group, app)
  if not heard[group] then
    redis.call('XGROUP', 'CREATE', KEYS[1], group, '0')
    heard[group] = '0-0'
  end
  local entries = redis.call('XRANGE', KEYS[1], '(' .. heard[group], '+', 'COUNT', ARGV[3])
  local others
  for _, entry in ipairs(entries) do
    if value_of(entry[2], 'app') == app then break end
    others = entry[1]
  end
  if others then redis.call('XGROUP', 'SETID', KEYS[1], group, others) end
  return #entries > 0 and (others ~= entries[#entries][1] or #entries == tonumber(ARGV[3]))
end

local apps = {}
for at = 4, #ARGV do
  local app = ARGV[at]
  local group = ARGV[1] .. app
  if has_unheard(group, app) or #redis.call('XPENDING', KEYS[1], group, 'IDLE', ARGV[2], '-', '+', 1) > 0 then
    apps[#apps + 1] = app
  end
end
return apps
