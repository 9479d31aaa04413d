-- The app was launched on a device: release what is held for it at once, or drop it if the app has fetched the news.
-- KEYS slot, held, slot-parked, queued, leased, counters, feedback, clock
-- ARGV device, wake-up, '1' if the app has fetched the news
-- Returns {'released', 'dropped' or 'nothing', wake-up needed}.
local FETCHED = 'the app fetched it itself'
local slot = read_slot(KEYS[1], {'id', 'record', 'terms', 'attempts', 'sending', 'parked'})
local is_waiting, has_fetched = slot.id and slot.id ~= slot.sending, ARGV[3] == '1'

if has_fetched then
  if is_waiting then
    note_end(slot.record, slot.id, 'superseded', FETCHED, slot.attempts, KEYS[6], KEYS[7])
    redis.call('DEL', slot_of(slot.id))
  end
  if slot.sending then
    -- What is on its way goes on, but is not tried again.
    if slot.id == slot.sending then keep_sending(KEYS[1], slot) end
    redis.call('HSET', KEYS[1], 'overtaken', FETCHED)
    forget_newest(KEYS[1])
  else
    redis.call('ZREM', KEYS[2], ARGV[1])
    redis.call('ZREM', KEYS[3], ARGV[1])
    redis.call('DEL', KEYS[1])
  end
  return {is_waiting and 'dropped' or 'nothing', 0}
end

if not is_waiting then return {'nothing', 0} end
redis.call('HSET', KEYS[1], 'waived', 1)
slot.waived = '1'
if slot.sending or slot.parked then return {'released', 0} end
local is_due = hold(ARGV[1], slot, read_sent(ARGV[1]), KEYS[2]) <= instant
return {'released', is_due and needs_wake_up(KEYS[4], KEYS[5], ARGV[2]) and 1 or 0}
