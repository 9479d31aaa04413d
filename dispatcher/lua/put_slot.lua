-- Accept one notification into its device's slot; the newest wins.
-- KEYS slot, held, queued, leased, counters, seen, feedback, slot-parked, clock
-- ARGV device, apns id, record, accepted field, digest or '', seconds to remember it, wake-up, spacing, hold for, send at or '', expires in or '', expiration or '', version or '', most share of memory or '', '1' if an evicting server is refused
-- Returns {'accepted', replaced, wake-up needed, superseded}, {'repeated'}, {'conflict'}, {'expired'} or {'too_late'}; or an error of guard.lua.
local before = ARGV[5] ~= '' and accepted_before(KEYS[6], ARGV[5])
if before then return {before} end
local device, apns_id, expiration = ARGV[1], ARGV[2], tonumber(ARGV[12]) or 0
local old = read_slot(KEYS[1], {'id', 'record', 'terms', 'sending', 'waived', 'parked', 'attempts', 'crashes', 'history'})
if old.id == apns_id or old.sending == apns_id then return {'repeated'} end
local refusal = refused_for_its_time(ARGV[10], ARGV[12], '')
if refusal then return {refusal} end
local guarded = refused_by_server(ARGV[14], ARGV[15])
if guarded then return guarded end

if ARGV[5] ~= '' then remember(KEYS[6], ARGV[5], ARGV[6], ARGV[10]) end
redis.call('HINCRBY', KEYS[5], ARGV[4], 1)

-- Was this version of the app's news older than the other? Digits, compared exactly beyond what a number holds.
local function is_older(version, other)
  if not version or not other or version == other then return false end
  local one, two = tonumber(version), tonumber(other)
  if one ~= two then return one < two end
  if #version ~= #other then return #version < #other end
  return version < other
end

local sent, version = read_sent(device), ARGV[13] ~= '' and ARGV[13] or nil
if is_older(version, old.version) or is_older(version, sent.version) then
  note_end(ARGV[3], apns_id, 'superseded', 'a newer version came before', 0, KEYS[5], KEYS[7])
  return {'accepted', 0, 0, 1}
end

local replaced, was_due = old.id and old.id ~= old.sending, nil
if replaced then
  was_due = due_at(old, sent)
  note_end(old.record, old.id, 'superseded', A_NEWER_ONE, old.attempts, KEYS[5], KEYS[7])
elseif old.id then
  keep_sending(KEYS[1], old)
end
-- One write where there is an old name, which there always should be.
local renamed = replaced and redis.pcall('RENAME', slot_of(old.id), slot_of(apns_id))
if not renamed or renamed.err then redis.call('SET', slot_of(apns_id), device) end

-- A newer one never makes the device wait longer than the one it replaces, except by its own send_at.
local send_at = tonumber(ARGV[10])
local wanted = math.max(send_at or 0, math.min(instant + ARGV[9], replaced and tonumber(old.wanted) or math.huge))
local expires = expiration > 0 and expiration or math.huge
if ARGV[11] ~= '' then expires = math.min(expires, math.max(instant, send_at or 0) + ARGV[11]) end
local slot = {
  id = apns_id, wanted = seconds(wanted), send_at = send_at and seconds(send_at), spacing = ARGV[8],
  expires = expires < math.huge and seconds(expires) or nil, waived = replaced and old.waived,
}
local terms = stamp .. ' ' .. slot.wanted .. ' ' .. (slot.send_at or '-') .. ' ' .. (slot.expires or '-') .. ' '
  .. slot.spacing .. ' ' .. (version or '-')
redis.call('HSET', KEYS[1], 'id', apns_id, 'record', ARGV[3], 'terms', terms)
if old.attempts or old.crashes or old.history then redis.call('HDEL', KEYS[1], 'attempts', 'crashes', 'history') end
if old.waived and not replaced then redis.call('HDEL', KEYS[1], 'waived') end

if old.parked then
  redis.call('ZADD', KEYS[8], slot.expires or '+inf', device)
elseif not old.sending then
  local due = due_at(slot, sent)
  if due ~= was_due then redis.call('ZADD', KEYS[2], seconds(due), device) end
  local is_newly_due = due <= instant and not (was_due and was_due <= instant)
  if is_newly_due and needs_wake_up(KEYS[3], KEYS[4], ARGV[7]) then return {'accepted', replaced and 1 or 0, 1, 0} end
end
return {'accepted', replaced and 1 or 0, 0, 0}
