-- acquire: takes slots on keys for a list of requests, in order, in one atomic step.
--
-- KEYS  1 inflight hash   2 spend hash
--       then per batch: batch hash, done bitmap   then per key: key hash   then per bucket: bucket hash
-- ARGV  1 now in ms ('' = Redis TIME; tests pass a time)
--       2 JSON { worker, horizonMs, pollMs, dayBudget,
--                batches: <count>,
--                keys:    [{ id, bucket, rpm, auto, autoMax, tpm, maxInFlight, budget }]   limits absent = none; bucket
--                         is 1-based; auto: the first guess of an unknown rpm, autoMax: what the provider gives at most
--                buckets: [{ id, windowMs, sliceMs, guardMs }]
--                sets:    [{ keys: [key index], models: [model] }]   the candidates, which many items share
--                items:   [{ ref, attempt, batch, line, tokens, cost, set, waited, stub }] }
-- Returns one reply per item, each a list of strings:
--   slot     <key index> <model> <wait in ms> <reserved nano USD>   send after the wait
--   wait     <ms> <why>             nothing now; ask again then (rate, claimed, cooling, probe, inflight, reserved)
--   none     <why> <until>          no key can serve by itself; until = earliest known return (ms since 1970) or 0
--   denied   batch|day|key          a budget is spent
--   too_large requests|tokens <limit>   no window of any key can ever hold it
--   halted   <batch status>         the batch does not send now
--   done                            the line is finished already
--   stale    <intent>               an earlier attempt of this line was never settled; settle it first
--
-- The window's algorithm is in window.lua, limits that are not known in learnt.lua. Read everything, decide, then write:
-- state is loaded once per call and written once at the end. A slot in the future, within the horizon, is reserved: the
-- caller sleeps, then sends.
--
-- include prelude.lua
-- include learnt.lua
-- include window.lua

local ask = cjson.decode(ARGV[2])
local firstKey = 2 + 2 * ask.batches
local firstBucket = firstKey + #ask.keys

-- ── state, loaded when first needed ──────────────────────────────────────────────────────────────────────────────

local batches, keys, buckets = {}, {}, {}
local spend

local function loadBatch(i)
  if not batches[i] then
    local f = redis.call('HMGET', KEYS[1 + 2 * i], 'status', 'budget', 'spent', 'reserved')
    batches[i] = {
      status = f[1] or 'missing', budget = tonumber(f[2] or ''), spent = tonumber(f[3] or 0), reserved = tonumber(f[4] or 0),
    }
  end
  return batches[i]
end

local function loadKey(i)
  if not keys[i] then
    local f = redis.call('HMGET', KEYS[firstKey + i], 'standing', 'reason', 'until', 'probe', 'inflight', 'spent', 'reserved',
      'learnt', 'learntAt', 'top', 'sure', 'told', 'ceiling', 'ceilingAt', 'step')
    local key = {
      standing = f[1] or 'active', reason = f[2] or '', comesBack = tonumber(f[3] or 0), probe = f[4] or '',
      inflight = tonumber(f[5] or 0), spent = tonumber(f[6] or 0), reserved = tonumber(f[7] or 0),
      learnt = tonumber(f[8] or ''), learntAt = tonumber(f[9] or 0), top = tonumber(f[10] or ''), sure = f[11] == '1',
      told = f[12] == '1', ceiling = tonumber(f[13] or ''), ceilingAt = tonumber(f[14] or 0), step = tonumber(f[15] or ''),
    }
    -- Half-open: the time has come; one request may try the key, the others wait for its answer.
    key.halfOpen = (key.standing == 'cooling' or key.standing == 'retired') and key.comesBack > 0 and key.comesBack <= now
    keys[i] = key
  end
  return keys[i]
end

local function loadBucket(i)
  if not buckets[i] then buckets[i] = readBucket(KEYS[firstBucket + i], ask.buckets[i], ask.horizonMs) end
  return buckets[i]
end

-- ── decide ───────────────────────────────────────────────────────────────────────────────────────────────────────

-- By line reference, and as the fields to write.
local given, intents, replies = {}, {}, {}

-- Of all items, asked for in one go: the intents by line reference, and which lines are done.
local earlier, isDone = {}, {}
local function readLines()
  local refs, ofBatch = {}, {}
  for n, item in ipairs(ask.items) do
    refs[n] = item.ref
    local batch = ofBatch[item.batch]
    if not batch then batch = { bits = {}, items = {} }; ofBatch[item.batch] = batch end
    batch.items[#batch.items + 1] = n
    local bits = batch.bits
    bits[#bits + 1], bits[#bits + 2], bits[#bits + 3] = 'GET', 'u1', item.line
  end
  if #refs == 0 then return end
  local intent = redis.call('HMGET', KEYS[1], unpack(refs))
  for n, ref in ipairs(refs) do earlier[ref] = intent[n] or nil end
  for i, batch in pairs(ofBatch) do
    local found = redis.call('BITFIELD_RO', KEYS[2 + 2 * i], unpack(batch.bits))
    for at, n in ipairs(batch.items) do isDone[n] = found[at] == 1 end
  end
end

-- spent + estimate over the limit: denied for good. Only the reserved part in the way: calls in flight may free it.
local function budgetState(limit, spent, reserved, cost)
  if not limit then return 'ok' end
  if spent + cost > limit then return 'spent' end
  if spent + reserved + cost > limit then return 'reserved' end
  return 'ok'
end

-- Calls at once: the configured ceiling, and the one that a 429 by concurrency has taught, which rises by one every 15 s.
local function mostInFlight(key, limits)
  local most = limits.maxInFlight or math.huge
  if key.ceiling then most = math.min(most, key.ceiling + math.floor(math.max(0, now - key.ceilingAt) / 15000)) end
  return most
end

-- One key's answer for one item: when it could send, or why it cannot.
local function consider(item, i)
  local key, limits = loadKey(i), ask.keys[i]
  if key.standing == 'draining' then return { state = 'retired', why = 'draining', comesBack = 0 } end
  if key.standing == 'retired' and not key.halfOpen then
    return { state = 'retired', why = key.reason, comesBack = key.comesBack }
  end
  if key.standing == 'cooling' and not key.halfOpen then return { state = 'wait', why = 'cooling', at = key.comesBack } end
  if key.halfOpen and key.probe ~= '' then return { state = 'wait', why = 'probe', at = now + ask.pollMs } end
  local budget = budgetState(limits.budget, key.spent, key.reserved, item.cost)
  if budget == 'spent' then return { state = 'budget' } end
  if budget == 'reserved' then return { state = 'wait', why = 'reserved', at = now + ask.pollMs } end
  if limits.tpm and item.tokens > limits.tpm then return { state = 'too_large', limit = limits.tpm } end
  if key.inflight >= mostInFlight(key, limits) then return { state = 'wait', why = 'inflight', at = now + ask.pollMs } end
  -- Without limits, too: one may be given to the key while its window is full of calls.
  local bucket = loadBucket(limits.bucket)
  if claimedByOther(bucket, item.ref) then return { state = 'wait', why = 'claimed', at = now + ask.pollMs } end
  local rpm, spacing = effectiveRpm(key, limits, bucket.windowMs)
  climb(key, limits, bucket, rpm)
  local at, drops, headroom = earliest(bucket, rpm, limits.tpm, item.tokens, spacing)
  if limits.budget then headroom = math.min(headroom, (limits.budget - key.spent - key.reserved) / limits.budget) end
  return { state = 'free', at = at, drops = drops, headroom = headroom, inflight = key.inflight }
end

local function better(a, b)
  if a.at ~= b.at then return a.at < b.at end
  if a.headroom ~= b.headroom then return a.headroom > b.headroom end
  return a.inflight < b.inflight
end

-- Of many keys that are free now, so many are compared: more would cost more than they are better. Where to begin among
-- many changes with time, so that all have their turn.
local compared = 8

local function choose(item)
  local best, model, wait, why, retired, budget, tooLarge
  local comesBack, free = 0, 0
  local set = ask.sets[item.set]
  -- An item of the same call, no larger than this one, found no room: since then there is not more of it.
  local earlierWait = set.wait
  if earlierWait and item.tokens >= set.waitTokens and item.cost >= set.waitCost and item.waited < set.waitedLess then
    return nil, earlierWait
  end
  local count = #set.keys
  local start = count > compared and now % count or 0
  for k = 0, count - 1 do
    if free >= compared then break end
    local n = (start + k) % count + 1
    local i = set.keys[n]
    local c = consider(item, i)
    if c.state == 'free' then
      if c.at <= now then free = free + 1 end
      if not best or better(c, best) then best, model = c, set.models[n]; best.key = i end
    elseif c.state == 'wait' then
      if not wait or c.at < wait then wait, why = c.at, c.why end
    elseif c.state == 'retired' then
      retired = retired or c.why
      if c.comesBack > 0 and (comesBack == 0 or c.comesBack < comesBack) then comesBack = c.comesBack end
    elseif c.state == 'budget' then
      budget = true
    else
      tooLarge = math.max(tooLarge or 0, c.limit)
    end
  end
  if best and best.at <= now + ask.horizonMs then return best, model end
  if best then
    local bucket = loadBucket(ask.keys[best.key].bucket)
    if item.waited >= bucket.windowMs then claim(bucket, item.ref, best.at) end
    local at = best.at - ask.horizonMs
    if not wait or at < wait then wait, why = at, 'rate' end
  end
  if wait then
    local reply = { 'wait', int(math.max(1, wait - now)), why }
    -- Whoever has waited for a window asks for itself: it may claim a bucket.
    local longest = math.huge
    for _, i in ipairs(set.keys) do longest = math.min(longest, ask.buckets[ask.keys[i].bucket].windowMs) end
    if item.waited < longest then
      set.wait, set.waitTokens, set.waitCost, set.waitedLess = reply, item.tokens, item.cost, longest
    end
    return nil, reply
  end
  if budget then return nil, { 'denied', 'key' } end
  if tooLarge then return nil, { 'too_large', 'tokens', int(tooLarge) } end
  return nil, { 'none', retired or 'no key', int(comesBack) }
end

-- The same ask again, because its reply was lost on the way: the slot it has already. A reserved one never at once: it is
-- to be marked as used (sent.lua).
local function mine(item, intent)
  local attempt, keyId, _, _, cost, at, model, _, reserved = intentFields(intent)
  if attempt ~= item.attempt then return nil end
  for _, i in ipairs(ask.sets[item.set].keys) do
    if ask.keys[i].id == keyId then return { 'slot', int(i), model, int(math.max(tonumber(reserved), at - now)), cost } end
  end
end

local function reply(n, item)
  if isDone[n] then return { 'done' } end
  local intent = given[item.ref] or earlier[item.ref]
  -- Even in a batch that was paused meanwhile: a slot that its owner does not know of would never be given back.
  local own = intent and mine(item, intent)
  if own then return own end
  local batch = loadBatch(item.batch)
  if batch.status ~= 'in_progress' then return { 'halted', batch.status } end
  if intent then return { 'stale', intent } end

  local budget = budgetState(batch.budget, batch.spent, batch.reserved, item.cost)
  if budget == 'spent' then return { 'denied', 'batch' } end
  if not spend then
    local f = redis.call('HMGET', KEYS[2], 'spent:' .. day, 'reserved')
    spend = { spent = tonumber(f[1] or 0), reserved = tonumber(f[2] or 0) }
  end
  local ofDay = budgetState(ask.dayBudget, spend.spent, spend.reserved, item.cost)
  if ofDay == 'spent' then return { 'denied', 'day' } end
  if budget == 'reserved' or ofDay == 'reserved' then return { 'wait', int(ask.pollMs), 'reserved' } end

  local slot, other = choose(item)
  if not slot then return other end
  local key, limits = loadKey(slot.key), ask.keys[slot.key]
  local bucket = loadBucket(limits.bucket)
  local index = stamp(bucket, slot.at, slot.drops, item.tokens)
  if bucket.claim == item.ref then bucket.claim = '' end
  key.inflight, key.reserved, key.dirty = key.inflight + 1, key.reserved + item.cost, true
  batch.reserved, batch.dirty = batch.reserved + item.cost, true
  spend.reserved, spend.dirty = spend.reserved + item.cost, true
  local probe = '0'
  if key.halfOpen then key.probe, probe = item.attempt, '1' end
  -- The intent: what settle needs, and what is known of the call if its worker dies. src/keys/intent.ts reads it.
  given[item.ref] = table.concat({
    item.attempt, ask.worker, limits.id, ask.buckets[limits.bucket].id, int(index), int(item.tokens), int(item.cost),
    int(slot.at), other, probe, slot.at > now and '1' or '0', item.stub,
  }, '\t')
  intents[#intents + 1], intents[#intents + 2] = item.ref, given[item.ref]
  return { 'slot', int(slot.key), other, int(math.max(0, slot.at - now)), int(item.cost) }
end

readLines()
for n, item in ipairs(ask.items) do replies[n] = reply(n, item) end

-- ── write ────────────────────────────────────────────────────────────────────────────────────────────────────────

if #intents > 0 then redis.call('HSET', KEYS[1], unpack(intents)) end
for i, batch in pairs(batches) do
  if batch.dirty then redis.call('HSET', KEYS[1 + 2 * i], 'reserved', int(batch.reserved)) end
end
if spend and spend.dirty then redis.call('HSET', KEYS[2], 'reserved', int(spend.reserved)) end
for i, key in pairs(keys) do
  if key.dirty then
    redis.call('HSET', KEYS[firstKey + i], 'inflight', int(key.inflight), 'reserved', int(key.reserved), 'probe', key.probe,
      'top', int(key.top))
    if key.hasClimbed then
      redis.call('HSET', KEYS[firstKey + i], 'learnt', int(key.learnt), 'learntAt', int(key.learntAt), 'step', int(key.step))
    end
  end
end
for _, bucket in pairs(buckets) do writeBucket(bucket) end
return replies
