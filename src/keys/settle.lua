-- settle: one atomic step for each answer that came (or will never come).
--
-- KEYS  1 inflight hash   2 spend hash   3 reaped hash
--       then per batch: batch hash, done bitmap, attempts hash, results stream, held hash, ledger stream
--       then per key: key hash   then per bucket: bucket hash
-- ARGV  1 now in ms ('' = Redis TIME; tests pass a time)
--       2 JSON { shape: { batches, keys }: how many of them are among KEYS, items: [item] }; an item is
--         { ref, batch, line,
--           attempt, key, bucket      the call it settles; absent: no call was made (a line that ends without one)
--           release                   true: the slot was not used; give it back, no ledger row
--           unknown                   true: the caller is not the sender; the sender died
--           tokens, cost              real usage; absent: the window keeps its estimate, and no money is spent
--           unsure                    true: nobody told the cost, and there may be one: what was reserved is spent
--           assumed                   what is spent and unsure where no cost is told of a call that has no intent
--           unanswered                true: sent, and no whole answer came: possibly billed
--           count                     true: this attempt is one of the line's attempts
--           act                       what happens to keys: { kind = 'ok' | 'neutral' | 'ceiling' }
--                                     { kind = 'cool', reason, retryAfterMs?, baseMs, maxMs, jitter,
--                                       limit? = { auto, rpm?, windowMs, sliceMs, widenMs } where a limit was hit }
--                                     { kind = 'retire', reason, backInMs?, keys = [key index] }
--           told                      the requests per window that a header named
--           hold                      the approval that the line waits for
--           final                     { to = 'o' | 'e', code?, input?, output? }: the line ends with this result
--           ledger, result }          1-based positions in ARGV of the ledger entry and the result line; absent: none
--       3… those strings
-- Returns one reply per item: { settled 0|1, ended 0|1, attempts spent, standing after ('' = unchanged), until }
--
-- Safe to repeat: the intent is the token. Without it the call was settled before, and nothing but the line's end is
-- looked at again, which the done bit makes harmless: the result is appended only by whoever turns the bit from 0 to 1.
-- (An end that nobody wrote before, of a call without an intent: Redis lost its last second. It is booked after all.)
-- A call given up as `unknown` leaves its cost, its time and the day it was booked on in `reaped`, so that a sender who
-- was only asleep can still correct it.
-- Until then it is spent, so that a budget holds, and also in the batch's `unsure`: the part of `spent` that is no known cost.
-- So is what was reserved for a call whose end is known and whose cost nobody told; there nothing will correct it.
--
-- Many answers, few writes: what only adds up (money, counters, tokens in a slice of the window) is summed over all items
-- and written once at the end (sums.lua).

-- include prelude.lua
-- include learnt.lua
-- include sums.lua

local ask = cjson.decode(ARGV[2])
local shape = ask.shape
local firstKey = 3 + 6 * shape.batches
local firstBucket = firstKey + shape.keys

-- The keys of item's batch.
local function batchHash(item) return KEYS[6 * item.batch - 2] end
local function doneBits(item) return KEYS[6 * item.batch - 1] end
local function attemptsHash(item) return KEYS[6 * item.batch] end
local function resultStream(item) return KEYS[6 * item.batch + 1] end
local function heldHash(item) return KEYS[6 * item.batch + 2] end
local function ledgerStream(item) return KEYS[6 * item.batch + 3] end

local function book(item)
  if item.ledger then append(ledgerStream(item), ARGV[item.ledger]) end
end

-- By line reference; what one item settles is settled for the next.
local intents = {}

local function readIntents()
  local refs = {}
  for _, item in ipairs(ask.items) do if item.attempt then refs[#refs + 1] = item.ref end end
  if #refs == 0 then return end
  local found = redis.call('HMGET', KEYS[1], unpack(refs))
  for n, ref in ipairs(refs) do intents[ref] = found[n] or nil end
end

local function readIntent(text)
  local attempt, _, slice, tokens, cost, sentAt, _, probe = intentFields(text)
  return {
    attempt = attempt, slice = slice, tokens = tonumber(tokens), cost = tonumber(cost), sentAt = tonumber(sentAt),
    probe = probe == '1',
  }
end

-- `onDay`: of whose budget; default: this one's.
local function bookMoney(item, key, reserved, spent, onDay)
  local batch = batchHash(item)
  add(key, 'reserved', -reserved)
  add(batch, 'reserved', -reserved)
  add(KEYS[2], 'reserved', -reserved)
  add(key, 'spent', spent)
  add(batch, 'spent', spent)
  add(KEYS[2], 'spent:' .. (onDay or day), spent)
end

-- On top of what is left of earlier widenings, up to eight times.
local function widen(bucket, ms, windowMs)
  local f = redis.call('HMGET', bucket, 'extra', 'extraAt')
  local extra = extraLeft(tonumber(f[1] or 0), tonumber(f[2] or 0), windowMs)
  redis.call('HSET', bucket, 'extra', int(math.max(extra, math.min(extra + ms, ms * 8))), 'extraAt', int(now))
  -- A bucket without a window yet, or whose window has expired, is ours alone to end.
  if redis.call('PTTL', bucket) < 0 then redis.call('PEXPIRE', bucket, int(math.max(3600000, 2 * windowMs))) end
end

local function cool(key, bucket, act, intent)
  local f = redis.call('HMGET', key, 'standing', 'since', 'level', 'probe')
  local standing, since, level = f[1] or 'active', tonumber(f[2] or 0), tonumber(f[3] or 0)
  local isProbe = intent.probe and f[4] == intent.attempt
  if standing == 'draining' or (standing == 'retired' and not isProbe) then return '', 0 end
  -- A call granted before the last cool-down began belongs to the same burst: one event, not fifty. While the key cools
  -- that is every call but the probe, those with a reserved slot that came due since then included.
  if (standing == 'cooling' or intent.sentAt <= since) and not isProbe then return '', 0 end
  level = level + 1
  local own = math.min(act.maxMs, act.baseMs * 2 ^ (level - 1)) * (0.5 + act.jitter / 2)
  local ms = act.retryAfterMs or own
  -- The server's time was waited for, and was not enough (0, a date gone by): no word to go by alone.
  if level > 1 then ms = math.max(ms, own) end
  local comesBack = now + math.max(1, math.floor(ms))
  redis.call('HSET', key, 'standing', 'cooling', 'reason', act.reason, 'since', int(now), 'level', int(level), 'until',
    int(comesBack), 'probe', '')
  if act.limit then widen(bucket, act.limit.widenMs, act.limit.windowMs) end
  return 'cooling', comesBack
end

-- `sentAt`: of the call that was answered so.
local function retire(act, sentAt)
  local changed = ''
  local comesBack = act.backInMs and now + act.backInMs or 0
  for _, i in ipairs(act.keys) do
    local key = KEYS[firstKey + i]
    local f = redis.call('HMGET', key, 'standing', 'reopened')
    -- Answers to calls sent before a person reopened the key, or before a trial found it well, tell of the past.
    if f[1] ~= 'draining' and sentAt >= tonumber(f[2] or 0) then
      if f[1] ~= 'retired' then changed = 'retired' end
      redis.call('HSET', key, 'standing', 'retired', 'reason', act.reason, 'since', int(now), 'until',
        int(comesBack), 'probe', '')
    end
  end
  return changed, comesBack
end

-- A 429 by rate. Without a known limit the refused call does not count: only what was accepted tells the limit.
local function learn(key, bucket, limit, intent)
  if limit.auto then correctWindow(bucket, intent, -1, -intent.tokens) end
  writeWindow(bucket)
  local sent = sentInWindow(bucket, limit.windowMs, limit.sliceMs)
  learnFrom429(key, limit, limit.auto and sent or sent - 1, intent.sentAt)
end

local function actOnKeys(item, key, bucket, intent)
  local act = item.act
  if act.kind == 'cool' and act.limit then learn(key, bucket, act.limit, intent) end
  if act.kind == 'ceiling' then
    -- What is left in flight is what the provider bears.
    local inflight = tonumber(redis.call('HGET', key, 'inflight') or 1) + pending(key, 'inflight')
    redis.call('HSET', key, 'ceiling', int(math.max(1, inflight)), 'ceilingAt', int(now))
    -- Nothing of ours, but others' calls fill it: they need time to end.
    if inflight < 1 then return cool(key, bucket, act, intent) end
  end
  if act.kind == 'cool' then return cool(key, bucket, act, intent) end
  if act.kind == 'retire' then return retire(act, intent.sentAt) end
  local f = intent.probe and redis.call('HMGET', key, 'probe', 'standing')
  if f and f[1] == intent.attempt then
    if act.kind == 'ok' then
      if f[2] == 'retired' then redis.call('HSET', key, 'reopened', int(intent.sentAt)) end
      redis.call('HSET', key, 'standing', 'active', 'reason', '', 'level', '0', 'until', '0', 'probe', '')
      return 'active', 0
    end
    redis.call('HSET', key, 'probe', '')
  end
  return '', 0
end

local function settleCall(item)
  local key, bucket = KEYS[firstKey + item.key], KEYS[firstBucket + item.bucket]
  local packed = intents[item.ref]
  local intent = packed and readIntent(packed)
  if not intent or intent.attempt ~= item.attempt then
    local cost, sentAt, onDay = string.match(redis.call('HGET', KEYS[3], item.attempt) or '', '^(%d+):?(%d*):?(%d*)$')
    local assumed = tonumber(cost or '')
    if not assumed or item.unknown then return 0, '', 0, false end
    -- Given up before, and yet here is the answer: the real cost takes the place of the assumed one. As an attempt it
    -- was counted then.
    redis.call('HDEL', KEYS[3], item.attempt)
    local known = item.cost
    if not known and (item.release or not item.unsure) then known = 0 end
    bookMoney(item, key, 0, (known or assumed) - assumed, onDay ~= '' and onDay or day)
    if known then add(batchHash(item), 'unsure', -assumed) end
    book(item)
    if item.ledger and not item.unanswered then add(batchHash(item), 'possiblyBilled', -1) end
    if item.hold and redis.call('GETBIT', doneBits(item), item.line) == 0 then
      redis.call('HSET', heldHash(item), item.line, item.hold)
    end
    -- Who cannot pay could not then.
    local standing, comesBack = '', 0
    if item.act.kind == 'retire' then standing, comesBack = retire(item.act, tonumber(sentAt) or 0) end
    return 1, standing, comesBack, false
  end

  intents[item.ref] = nil
  delete(KEYS[1], item.ref)
  add(key, 'inflight', -1)
  if item.told then learnFromHeader(key, item.told) end
  if item.hold then redis.call('HSET', heldHash(item), item.line, item.hold) end
  local standing, comesBack = actOnKeys(item, key, bucket, intent)
  if item.release then
    correctWindow(bucket, intent, -1, -intent.tokens)
    forgetUnsent(key, intent.sentAt)
    bookMoney(item, key, intent.cost, 0)
  elseif item.unknown then
    bookMoney(item, key, intent.cost, intent.cost)
    add(batchHash(item), 'unsure', intent.cost)
    redis.call('HSET', KEYS[3], item.attempt, int(intent.cost) .. ':' .. int(intent.sentAt) .. ':' .. int(day))
    redis.call('PEXPIRE', KEYS[3], 86400000)
    add(batchHash(item), 'possiblyBilled', 1)
  else
    if item.tokens then correctWindow(bucket, intent, 0, item.tokens - intent.tokens) end
    local assumed = not item.cost and item.unsure and intent.cost or 0
    bookMoney(item, key, intent.cost, item.cost or assumed)
    add(batchHash(item), 'unsure', assumed)
    if item.unanswered then add(batchHash(item), 'possiblyBilled', 1) end
  end
  book(item)
  return 1, standing, comesBack, item.count
end

local function endLine(item)
  local batch = batchHash(item)
  if redis.call('SETBIT', doneBits(item), item.line, '1') == 1 then return 0 end
  local final = item.final
  redis.call('XADD', resultStream(item), '*', 't', final.to, 'l', item.line, 'r', ARGV[item.result])
  delete(attemptsHash(item), item.line)
  delete(heldHash(item), item.line)
  add(batch, final.to == 'o' and 'completed' or 'failed', 1)
  if final.code then add(batch, 'error:' .. final.code, 1) end
  add(batch, 'inputTokens', final.input or 0)
  add(batch, 'outputTokens', final.output or 0)
  return 1
end

readIntents()
local replies = {}
for n, item in ipairs(ask.items) do
  local settled, standing, comesBack, counts, ended, attempts = 0, '', 0, false, 0, 0
  if item.attempt then settled, standing, comesBack, counts = settleCall(item) end
  if item.final then
    ended = endLine(item)
    if ended == 1 and item.attempt and settled == 0 then
      settled = 1
      local assumed = not item.cost and item.assumed or 0
      bookMoney(item, KEYS[firstKey + item.key], 0, item.cost or assumed)
      add(batchHash(item), 'unsure', assumed)
      book(item)
    end
  elseif item.count then
    local hash = attemptsHash(item)
    -- A line that has ended keeps no count: nobody would remove it.
    if counts and redis.call('GETBIT', doneBits(item), item.line) == 0 then
      attempts = redis.call('HINCRBY', hash, item.line, '1')
    else
      attempts = tonumber(redis.call('HGET', hash, item.line) or 0)
    end
  end
  replies[n] = { settled, ended, attempts, standing, int(comesBack) }
end
writeAll()
return replies
