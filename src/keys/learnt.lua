-- learnt: what 429s and headers have taught of a key's requests per window. Kept in the key's hash for ever:
--   learnt, learntAt   what was accepted in the trailing window when it last answered 429
--   top                what `learnt` recovers to
--   sure               1 once a 429 or a header has named a limit; 0 while `top` is a guess that nothing has contradicted
--
-- A limit still unknown ("auto") begins with a cautious guess, sent evenly, so that the first 429 comes alone; a window
-- used to the full without one doubles the guess. The number accepted in the trailing window at the first 429 IS the
-- limit. Later 429s below it mean other users of the key: the limit drops to what was accepted and recovers by a
-- twentieth of the top a window. Now and then, after long peace, one step above the top is tried.

local recoverPart = 0.05
local peaceWindows = 10
local stepPart = 0.02

-- The requests per window that hold now, and the ms between two sends while the limit is a guess (0 = no spacing).
local function effectiveRpm(key, limits, windowMs)
  local top = limits.rpm
  local spacing = 0
  if limits.auto then
    top = key.top or limits.auto
    if not key.sure then spacing = windowMs / top end
  end
  if not top or not key.learnt then return top, spacing end
  local windows = math.max(0, now - key.learntAt) / windowMs
  local rpm = math.min(top, math.floor(key.learnt + top * recoverPart * windows))
  if limits.auto and rpm == top and windows > peaceWindows and not key.told then
    rpm = math.min(limits.autoMax or math.huge, top + math.max(1, math.floor(top * stepPart)))
  end
  return math.max(1, rpm), spacing
end

-- Requests stamped in the trailing window up to now; slots reserved ahead do not count.
local function sentInWindow(bucket, windowMs, sliceMs)
  local fields = redis.call('HGETALL', bucket)
  local first, last = math.floor((now - windowMs) / sliceMs) + 1, math.floor(now / sliceMs)
  local sent = 0
  for i = 1, #fields, 2 do
    local index = tonumber(string.match(fields[i], '^s(%d+)$') or '')
    if index and index >= first and index <= last then
      sent = sent + tonumber(string.match(fields[i + 1], '^(%-?%d+)'))
    end
  end
  return sent
end

-- A 429 came although we believed that there was room. `accepted`: what the window holds without the refused call.
local function learnFrom429(key, limit, accepted, sentAt)
  accepted = math.max(1, accepted)
  local f = redis.call('HMGET', key, 'top', 'learnt', 'learntAt', 'sure')
  local top, learnt, learntAt = tonumber(f[1] or ''), tonumber(f[2] or ''), tonumber(f[3] or 0)
  if learnt and sentAt <= learntAt then
    -- Another refusal of the same burst: they come one by one, and each knows better than the one before.
    if accepted >= learnt then return end
    redis.call('HSET', key, 'learnt', int(accepted))
    if limit.auto and top == learnt then redis.call('HSET', key, 'top', int(accepted)) end
    return
  end
  if limit.auto and f[4] ~= '1' then
    redis.call('HSET', key, 'top', int(accepted), 'learnt', int(accepted), 'learntAt', int(now), 'sure', '1')
    return
  end
  top = limit.rpm or top or accepted
  -- So near the limit it is the difference between our clock and theirs, the guard's business; or a step too high.
  if accepted >= top * 0.97 then
    redis.call('HSET', key, 'learnt', int(math.min(top, accepted)), 'learntAt', int(now))
    -- A limit that we found ourselves may be one too high: it would be run into again in every window.
    if limit.auto and accepted < top then redis.call('HSET', key, 'top', int(accepted)) end
    return
  end
  redis.call('HSET', key, 'learnt', int(accepted), 'learntAt', int(now))
  if limit.auto then redis.call('HSET', key, 'top', int(math.max(accepted, top * 0.95))) end
end

-- A slot that was taken for sent when the limit was found has come back unused.
local function forgetUnsent(key, sentAt)
  local f = redis.call('HMGET', key, 'top', 'learnt', 'learntAt', 'sure')
  local top, learnt, learntAt = tonumber(f[1] or ''), tonumber(f[2] or ''), tonumber(f[3] or 0)
  if not learnt or f[4] ~= '1' or sentAt > learntAt or learnt <= 1 then return end
  redis.call('HSET', key, 'learnt', int(learnt - 1))
  if top == learnt then redis.call('HSET', key, 'top', int(learnt - 1)) end
end

-- A header named the limit.
local function learnFromHeader(key, rpm)
  redis.call('HSET', key, 'top', int(rpm), 'sure', '1', 'told', '1')
end

