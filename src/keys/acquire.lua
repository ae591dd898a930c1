-- acquire: takes slots on keys for a list of requests, in order, in one atomic step.
--
-- KEYS  1 inflight hash   2 spend hash
--       then per batch: batch hash, done bitmap   then per key: key hash   then per bucket: bucket hash
-- ARGV  1 now in ms ('' = Redis TIME; tests pass a time)
--       2 JSON { worker, horizonMs, pollMs, dayBudget,
--                batches: <count>,
--                keys:    [{ id, bucket, rpm, tpm, maxInFlight, budget }]   limits absent = none; bucket is 1-based
--                buckets: [{ id, windowMs, sliceMs, guardMs }]
--                items:   [{ ref, attempt, batch, line, tokens, cost, keys: [key index], models: [model], stub }] }
-- Returns one reply per item, each a list of strings:
--   slot     <key index> <model> <wait in ms> <reserved nano USD>   send after the wait
--   wait     <ms> <why>             nothing now; ask again then (rate, cooling, probe, inflight, reserved)
--   none     <why> <until>          no key can serve by itself; until = earliest known return (ms since 1970) or 0
--   denied   batch|day|key          a budget is spent
--   too_large requests|tokens <limit>   no window of any key can ever hold it
--   halted   <batch status>         the batch does not send now
--   done                            the line is finished already
--   stale    <intent>               an earlier attempt of this line was never settled; settle it first
--
-- The window. A bucket is a queue of slices of sliceMs, each with its requests and tokens, chained by their index
-- (`s<i>` = "requests:tokens:next"), with running totals. Stamps never go back: a new one is at max(now, last stamp) or
-- later, so whatever has left the window at that moment can be dropped for good, and the earliest slot for one more
-- request is found by dropping from the head until it fits. A slice leaves when its END is windowMs + guard old: exact
-- to a slice, on the safe side. A slot in the future, within the horizon, is reserved: the caller sleeps, then sends.
-- Read everything, decide, then write: state is loaded once per call and written once at the end.

local now
if ARGV[1] ~= '' then
  now = tonumber(ARGV[1])
else
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local ask = cjson.decode(ARGV[2])
local firstKey = 2 + 2 * ask.batches
local firstBucket = firstKey + #ask.keys
local day = math.floor(now / 86400000)

local function int(number)
  return number and string.format('%.0f', number) or ''
end

local function split(intent)
  local fields = {}
  for field in string.gmatch(intent, '([^\t]*)\t') do fields[#fields + 1] = field end
  return fields
end

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
    local f = redis.call('HMGET', KEYS[firstKey + i], 'standing', 'reason', 'until', 'probe', 'inflight', 'spent', 'reserved')
    local key = {
      standing = f[1] or 'active', reason = f[2] or '', comesBack = tonumber(f[3] or 0), probe = f[4] or '',
      inflight = tonumber(f[5] or 0), spent = tonumber(f[6] or 0), reserved = tonumber(f[7] or 0),
    }
    -- Half-open: the time has come; one request may try the key, the others wait for its answer.
    key.halfOpen = (key.standing == 'cooling' or key.standing == 'retired') and key.comesBack > 0 and key.comesBack <= now
    keys[i] = key
  end
  return keys[i]
end

-- When it cannot be told any more what was sent when, all that is in the window counts as sent at once, `at` this time.
local function collapse(bucket, at)
  bucket.reset, bucket.touched, bucket.last = true, true, at
  if not bucket.head then return end
  local index = math.floor(at / bucket.sliceMs)
  bucket.head, bucket.tail = index, index
  bucket.slices[index], bucket.dirty[index] = { reqs = bucket.reqs, toks = bucket.toks }, true
end

local function loadBucket(i)
  if buckets[i] then return buckets[i] end
  local shape = ask.buckets[i]
  local name = KEYS[firstBucket + i]
  local f = redis.call('HMGET', name, 'head', 'tail', 'last', 'reqs', 'toks', 'extra', 'extraAt', 'slice')
  local bucket = {
    name = name, slices = {}, dirty = {}, dropped = {}, sliceMs = shape.sliceMs,
    head = tonumber(f[1] or ''), tail = tonumber(f[2] or ''), last = tonumber(f[3] or 0),
    reqs = tonumber(f[4] or 0), toks = tonumber(f[5] or 0), extra = tonumber(f[6] or 0), extraAt = tonumber(f[7] or 0),
  }
  -- What was added to the guard after a late send or a surprising 429 halves every ten minutes. A quarter of the window
  -- at most: a process that slept through an hour must not close the bucket for hours.
  local extra = bucket.extra * 0.5 ^ (math.max(0, now - bucket.extraAt) / 600000)
  bucket.keepMs = shape.windowMs + shape.guardMs + math.min(extra, shape.windowMs / 4)
  -- The window's length was changed in the configuration: the slices' indexes mean other times now.
  if f[8] and tonumber(f[8]) ~= shape.sliceMs then collapse(bucket, bucket.last) end
  -- The clock went back by more than a window (never do we stamp so far ahead): waiting for it would stand still.
  if bucket.last - now > bucket.keepMs + ask.horizonMs then collapse(bucket, now + ask.horizonMs) end
  buckets[i] = bucket
  return bucket
end

local function slice(bucket, index)
  local s = bucket.slices[index]
  if not s then
    local packed = redis.call('HGET', bucket.name, 's' .. int(index)) or '0:0:'
    local reqs, toks, next = string.match(packed, '^(%-?%d+):(%-?%d+):(%d*)$')
    s = { reqs = tonumber(reqs), toks = tonumber(toks), next = tonumber(next) }
    bucket.slices[index] = s
  end
  return s
end

local function leavesAt(bucket, index)
  return (index + 1) * bucket.sliceMs + bucket.keepMs
end

local function dropHead(bucket)
  local index = bucket.head
  local s = slice(bucket, index)
  bucket.reqs = bucket.reqs - s.reqs
  bucket.toks = bucket.toks - s.toks
  bucket.head = s.next
  bucket.dropped[#bucket.dropped + 1] = 's' .. int(index)
  bucket.slices[index], bucket.dirty[index] = nil, nil
  if not bucket.head then bucket.tail, bucket.reqs, bucket.toks = nil, 0, 0 end
end

-- Drops what has left the window by the earliest moment at which anything new can be stamped.
local function advance(bucket)
  local at = math.max(now, bucket.last)
  if bucket.tail and leavesAt(bucket, bucket.tail) <= at then
    bucket.reset, bucket.head, bucket.tail, bucket.reqs, bucket.toks = true, nil, nil, 0, 0
    bucket.slices, bucket.dirty, bucket.dropped, bucket.touched = {}, {}, {}, true
  end
  while bucket.head and leavesAt(bucket, bucket.head) <= at do
    dropHead(bucket)
    bucket.touched = true
  end
  return at
end

-- The earliest moment at which one more request of this size fits, and how many slices must have left by then.
local function earliest(bucket, limits, tokens)
  local at = advance(bucket)
  local reqs, toks, index, drops = bucket.reqs, bucket.toks, bucket.head, 0
  while index and ((limits.rpm and reqs + 1 > limits.rpm) or (limits.tpm and toks + tokens > limits.tpm)) do
    local s = slice(bucket, index)
    reqs, toks = reqs - s.reqs, toks - s.toks
    at = math.max(at, leavesAt(bucket, index))
    index, drops = s.next, drops + 1
  end
  local headroom = 1
  if limits.rpm then headroom = math.min(headroom, (limits.rpm - reqs) / limits.rpm) end
  if limits.tpm then headroom = math.min(headroom, (limits.tpm - toks) / limits.tpm) end
  return math.ceil(at), drops, headroom
end

local function stamp(bucket, at, drops, tokens)
  for _ = 1, drops do dropHead(bucket) end
  local index = math.floor(at / bucket.sliceMs)
  if bucket.tail ~= index then
    if bucket.tail then
      slice(bucket, bucket.tail).next = index
      bucket.dirty[bucket.tail] = true
    else
      bucket.head = index
    end
    bucket.slices[index] = { reqs = 0, toks = 0 }
    bucket.tail = index
  end
  local s = slice(bucket, index)
  s.reqs, s.toks = s.reqs + 1, s.toks + tokens
  bucket.reqs, bucket.toks = bucket.reqs + 1, bucket.toks + tokens
  bucket.last, bucket.dirty[index], bucket.touched = at, true, true
  return index
end

-- ── decide ───────────────────────────────────────────────────────────────────────────────────────────────────────

-- By line reference, and as the fields to write.
local given, intents, replies = {}, {}, {}

-- spent + estimate over the limit: denied for good. Only the reserved part in the way: calls in flight may free it.
local function budgetState(limit, spent, reserved, cost)
  if not limit then return 'ok' end
  if spent + cost > limit then return 'spent' end
  if spent + reserved + cost > limit then return 'reserved' end
  return 'ok'
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
  if limits.maxInFlight and key.inflight >= limits.maxInFlight then
    return { state = 'wait', why = 'inflight', at = now + ask.pollMs }
  end
  local at, drops, headroom = now, 0, 1
  if limits.rpm or limits.tpm then at, drops, headroom = earliest(loadBucket(limits.bucket), limits, item.tokens) end
  if limits.budget then headroom = math.min(headroom, (limits.budget - key.spent - key.reserved) / limits.budget) end
  return { state = 'free', at = at, drops = drops, headroom = headroom, inflight = key.inflight }
end

local function better(a, b)
  if a.at ~= b.at then return a.at < b.at end
  if a.headroom ~= b.headroom then return a.headroom > b.headroom end
  return a.inflight < b.inflight
end

local function choose(item)
  local best, model, wait, why, retired, budget, tooLarge
  local comesBack = 0
  for n, i in ipairs(item.keys) do
    local c = consider(item, i)
    if c.state == 'free' then
      if not best or better(c, best) then best, model = c, item.models[n]; best.key = i end
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
    local at = best.at - ask.horizonMs
    if not wait or at < wait then wait, why = at, 'rate' end
  end
  if wait then return nil, { 'wait', int(math.max(1, wait - now)), why } end
  if budget then return nil, { 'denied', 'key' } end
  if tooLarge then return nil, { 'too_large', 'tokens', int(tooLarge) } end
  return nil, { 'none', retired or 'no key', int(comesBack) }
end

-- The same ask again, because its reply was lost on the way: the slot it has already.
local function mine(item, intent)
  local attempt, _, keyId, _, _, _, cost, at, model = unpack(split(intent))
  if attempt ~= item.attempt then return nil end
  for _, i in ipairs(item.keys) do
    if ask.keys[i].id == keyId then return { 'slot', int(i), model, int(math.max(0, at - now)), cost } end
  end
end

local function reply(item)
  if redis.call('GETBIT', KEYS[2 + 2 * item.batch], item.line) == 1 then return { 'done' } end
  local intent = given[item.ref] or redis.call('HGET', KEYS[1], item.ref)
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
  local index = 0
  if limits.rpm or limits.tpm then index = stamp(loadBucket(limits.bucket), slot.at, slot.drops, item.tokens) end
  key.inflight, key.reserved, key.dirty = key.inflight + 1, key.reserved + item.cost, true
  batch.reserved, batch.dirty = batch.reserved + item.cost, true
  spend.reserved, spend.dirty = spend.reserved + item.cost, true
  local probe = '0'
  if key.halfOpen then key.probe, probe = item.attempt, '1' end
  -- The intent: what settle needs, and what is known of the call if its worker dies. src/keys/intent.ts reads it.
  given[item.ref] = table.concat({
    item.attempt, ask.worker, limits.id, ask.buckets[limits.bucket].id, int(index), int(item.tokens), int(item.cost),
    int(slot.at), other, probe, item.stub,
  }, '\t')
  intents[#intents + 1], intents[#intents + 2] = item.ref, given[item.ref]
  return { 'slot', int(slot.key), other, int(math.max(0, slot.at - now)), int(item.cost) }
end

for n, item in ipairs(ask.items) do replies[n] = reply(item) end

-- ── write ────────────────────────────────────────────────────────────────────────────────────────────────────────

if #intents > 0 then redis.call('HSET', KEYS[1], unpack(intents)) end
for i, batch in pairs(batches) do
  if batch.dirty then redis.call('HSET', KEYS[1 + 2 * i], 'reserved', int(batch.reserved)) end
end
if spend and spend.dirty then redis.call('HSET', KEYS[2], 'reserved', int(spend.reserved)) end
for i, key in pairs(keys) do
  if key.dirty then
    redis.call('HSET', KEYS[firstKey + i], 'inflight', int(key.inflight), 'reserved', int(key.reserved), 'probe', key.probe)
  end
end
for _, bucket in pairs(buckets) do
  if bucket.touched then
    if bucket.reset then
      redis.call('DEL', bucket.name)
    elseif #bucket.dropped > 0 then
      for from = 1, #bucket.dropped, 500 do
        redis.call('HDEL', bucket.name, unpack(bucket.dropped, from, math.min(from + 499, #bucket.dropped)))
      end
    end
    local fields = {
      'head', int(bucket.head), 'tail', int(bucket.tail), 'last', int(bucket.last), 'reqs', int(bucket.reqs),
      'toks', int(bucket.toks), 'extra', int(bucket.extra), 'extraAt', int(bucket.extraAt), 'slice', int(bucket.sliceMs),
    }
    for index in pairs(bucket.dirty) do
      local s = bucket.slices[index]
      fields[#fields + 1] = 's' .. int(index)
      fields[#fields + 1] = int(s.reqs) .. ':' .. int(s.toks) .. ':' .. (s.next and int(s.next) or '')
    end
    redis.call('HSET', bucket.name, unpack(fields))
    redis.call('PEXPIRE', bucket.name, int(2 * bucket.keepMs + ask.horizonMs + 60000))
  end
end
return replies
