-- learnt: what 429s and headers have taught of a key's requests per window. Kept in the key's hash for ever:
--   learnt, learntAt   what was accepted in the trailing window when it last answered 429
--   top                what `learnt` recovers to
--   sure               1 once a 429 or a header has named a limit; 0 while `top` is a guess that nothing has contradicted
--   step               how far above `top` the next trial goes, once one has held
--
-- A limit still unknown ("auto") begins with a cautious guess, sent evenly, so that the first 429 comes alone; a window
-- used to the full without one doubles the guess. The number accepted in the trailing window at the first 429 IS the
-- limit. (A 429 with nothing accepted tells of other users of the key, and nothing of its limit.) Later 429s below
-- it mean other users, too: the limit drops to what was accepted and recovers by a twentieth of the top a window. Now and
-- then, after long peace, a step above the top is tried. If a whole window holds it, it is the new top, and the next window
-- tries twice the step: the limit was raised, or what we took for it was other users' doing.

local recoverPart = 0.05
local peaceWindows = 10
local stepPart = 0.02

local function smallestStep(top) return math.max(1, math.floor(top * stepPart)) end

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
    rpm = math.min(limits.autoMax or math.huge, top + math.max(smallestStep(top), key.step or 0))
  end
  return math.max(1, rpm), spacing
end

-- A whole window has used `rpm` to the full without a 429: was it a guess, it is doubled; was it a step above the top, it
-- is the top. As far as the provider's limits go.
local function climb(key, limits, bucket, rpm)
  if not limits.auto or bucket.reqs < rpm then return end
  local most = limits.autoMax or math.huge
  if not key.sure then
    if rpm < most then key.top, key.dirty = math.min(most, rpm * 2), true end
    return
  end
  if not key.top or rpm <= key.top then return end
  key.step = (rpm - key.top) * 2
  key.top, key.learnt = rpm, rpm
  -- The next window is to hold it before more is tried.
  key.learntAt = now - (peaceWindows - 1) * bucket.windowMs
  key.dirty, key.hasClimbed = true, true
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
  -- Nothing of ours was accepted in this window: other users' doing, or an answer that was long on its way.
  if accepted < 1 then return end
  local f = redis.call('HMGET', key, 'top', 'learnt', 'learntAt', 'sure')
  local top, learnt, learntAt = tonumber(f[1] or ''), tonumber(f[2] or ''), tonumber(f[3] or 0)
  if learnt and sentAt <= learntAt then
    -- Another refusal of the same burst: they come one by one, and each knows better than the one before.
    if accepted >= learnt then return end
    redis.call('HSET', key, 'learnt', int(accepted))
    if limit.auto and top == learnt then redis.call('HSET', key, 'top', int(accepted)) end
    return
  end
  redis.call('HDEL', key, 'step')
  if limit.auto and f[4] ~= '1' then
    redis.call('HSET', key, 'top', int(accepted), 'learnt', int(accepted), 'learntAt', int(now), 'sure', '1')
    return
  end
  top = limit.rpm or top or accepted
  -- A long step has gone too far, and on the way has found the limit.
  if limit.auto and accepted > top + smallestStep(top) then top = accepted; redis.call('HSET', key, 'top', int(top)) end
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

