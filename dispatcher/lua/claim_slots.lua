-- Take due slots of one app for a limited time; with none left the wake-up is over. A slot whose worker died before is
-- taken alone, so that what kills workers takes no other slot with it.
-- KEYS held, slot-leased, queued, leased, counters, feedback, clock
-- ARGV wake-up, claim id, lease seconds, most slots, '1' if this claim may have been made before
-- Returns {now, {device, apns id, record, accepted at, attempts, crashes, history, has expired}, ...}
redis.call('ZREM', KEYS[3], ARGV[1])
take_back_expired(KEYS[1], KEYS[2], ARGV[4], KEYS[5], KEYS[6])
local taken, ends = {stamp}, seconds(now + ARGV[3])

-- The worker never heard what it took: nothing of it was sent.
local function undo_claim()
  for _, device in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    local slot = read_leased_slot(device)
    if slot.claim == ARGV[2] then
      if slot.was then
        local sent, spacing, at, id, version = read_sent(device), string.match(slot.was, SENT)
        sent.at, sent.id, sent.version = word(at), word(id), word(version)
        write_sent(device, sent, spacing)
      end
      take_back(device, slot, false, KEYS[1], KEYS[2], KEYS[5], KEYS[6])
    end
  end
end
if ARGV[5] == '1' then undo_claim() end

-- The budget counts from the end of the lease until the worker says better: a stalled one may send as late as that.
-- Returns the send before, for give_back to restore.
local function book_send(device, slot)
  if not slot.version and tonumber(slot.spacing) <= 0 then return nil end
  local sent = read_sent(device)
  local was = table.concat({slot.spacing, sent.at or '-', sent.id or '-', sent.version or '-'}, ' ')
  sent.at, sent.id, sent.version = ends, slot.id, slot.version or sent.version
  write_sent(device, sent, slot.spacing)
  return was
end

local function take(device, slot)
  local has_expired = slot.expires and tonumber(slot.expires) <= instant
  local was = not has_expired and book_send(device, slot)
  redis.call('HSET', slot_key(device), 'claim', ARGV[2], 'sending', slot.id)
  if was then redis.call('HSET', slot_key(device), 'was', was) end
  redis.call('ZREM', KEYS[1], device)
  redis.call('ZADD', KEYS[2], ends, device)
  taken[#taken + 1] = {
    device, slot.id, slot.record or '', slot.at, slot.attempts or 0, slot.crashes or 0, slot.history or '',
    has_expired and 1 or 0,
  }
end

local crashed
for _, device in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', stamp, 'LIMIT', 0, ARGV[4])) do
  local slot = read_slot(slot_key(device), {'id', 'record', 'terms', 'attempts', 'crashes', 'history'})
  if not slot.id then
    redis.call('ZREM', KEYS[1], device)
  elseif slot.crashes then
    crashed = crashed or {device, slot}
  else
    take(device, slot)
  end
end
if crashed and #taken == 1 then take(crashed[1], crashed[2]) end

if #taken == 1 then
  redis.call('ZREM', KEYS[4], ARGV[1])
else
  redis.call('ZADD', KEYS[4], ends, ARGV[1])
end
return taken
