-- What is judged, and remembered, when something is accepted.
local MOST_AHEAD_S = 30 * 86400

-- Why a notification cannot be accepted at this time; nil when it can.
local function refused_for_its_time(send_at, expiration, most_ahead)
  local from = math.max(now, tonumber(send_at) or now)
  if from > now + MOST_AHEAD_S then return 'too_late' end
  if expiration == '' then return nil end
  if tonumber(expiration) <= now then return 'expired' end
  if most_ahead ~= '' and tonumber(expiration) > from + most_ahead then return 'too_far' end
  return nil
end

-- Keeps what a repeated call is compared with: a while, counted from when it is sent.
local function remember(seen, digest, window, send_at)
  local wait = math.max(0, (tonumber(send_at) or now) - now)
  redis.call('SET', seen, digest, 'EX', math.ceil(window + wait))
end
