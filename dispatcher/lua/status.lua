-- Where is a notification of a batch?
-- KEYS batch, claim, clock
-- ARGV index
-- Returns nil, or {state, time of acceptance, when it is due or '', attempts}.
local stored, index = redis.call('GET', KEYS[1]), tonumber(ARGV[1])
local header = stored and header_of(stored)
if not header or index >= header.count then return nil end
local accepted_at = string.match(stored, '^%S+')
if is_done(done_flags(KEYS[2], header.count), index) then return {'ended', accepted_at, '', 0} end

local found = redis.call('HMGET', KEYS[2], 'claim', 'parked', index)
local tried, due = string.match(found[3] or '', '^(%d+) (%S+)')
local attempts = tonumber(tried or 0)
local send_at = tonumber(header.send_at)
if due and tonumber(due) > now then return {found[2] and 'parked' or 'waiting', accepted_at, due, attempts} end
if found[1] then return {'being_sent', accepted_at, '', attempts} end
if found[2] then return {'parked', accepted_at, '', attempts} end
if due then return {'waiting', accepted_at, due, attempts} end
if send_at and send_at > now then return {'scheduled', accepted_at, seconds(send_at), attempts} end
return {'queued', accepted_at, '', attempts}
