-- window: the sliding window of one quota bucket.
--
-- A bucket is a queue of slices of sliceMs, each with its requests and tokens, chained by their index (`s<i>` =
-- "requests:tokens:next"), with running totals. Stamps never go back: a new one is at max(now, last stamp) or later, so
-- whatever has left the window at that moment can be dropped for good, and the earliest slot for one more request is
-- found by dropping from the head until it fits. A slice leaves when its END is windowMs + guard old: exact to a slice,
-- on the safe side. A request that has waited long claims the bucket: until it is served, smaller ones do not overtake.

-- When it cannot be told any more what was sent when, all that is in the window counts as sent at once, `at` this time.
local function collapse(bucket, at)
  bucket.reset, bucket.touched, bucket.last = true, true, at
  if not bucket.head then return end
  local index = math.floor(at / bucket.sliceMs)
  bucket.head, bucket.tail = index, index
  bucket.slices[index], bucket.dirty[index] = { reqs = bucket.reqs, toks = bucket.toks }, true
end

local function readBucket(name, shape, horizonMs)
  local f = redis.call('HMGET', name, 'head', 'tail', 'last', 'reqs', 'toks', 'extra', 'extraAt', 'slice', 'claim', 'claimUntil')
  local bucket = {
    name = name, slices = {}, dirty = {}, dropped = {}, sliceMs = shape.sliceMs, windowMs = shape.windowMs,
    head = tonumber(f[1] or ''), tail = tonumber(f[2] or ''), last = tonumber(f[3] or 0),
    reqs = tonumber(f[4] or 0), toks = tonumber(f[5] or 0), extra = tonumber(f[6] or 0), extraAt = tonumber(f[7] or 0),
    claim = f[9] or '', claimUntil = tonumber(f[10] or 0), horizonMs = horizonMs,
  }
  -- What was added to the guard after a late send or a surprising 429 shrinks by itself. A quarter of the window
  -- at most: a process that slept through an hour must not close the bucket for hours.
  local extra = extraLeft(bucket.extra, bucket.extraAt, shape.windowMs)
  bucket.keepMs = shape.windowMs + shape.guardMs + math.min(extra, shape.windowMs / 4)
  -- The window's length was changed in the configuration: the slices' indexes mean other times now.
  if f[8] and tonumber(f[8]) ~= shape.sliceMs then collapse(bucket, bucket.last) end
  -- The clock went back by more than a window (never do we stamp so far ahead): waiting for it would stand still.
  if bucket.last - now > bucket.keepMs + horizonMs then collapse(bucket, now + horizonMs) end
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

-- The earliest moment at which one more request of this size fits, how many slices must have left by then, and how much
-- of the tighter limit is free. rpm, tpm: nil = none. spacing: ms since the last stamp at least.
local function earliest(bucket, rpm, tpm, tokens, spacing)
  local at = advance(bucket)
  if spacing > 0 and bucket.tail then at = math.max(at, bucket.last + spacing) end
  local reqs, toks, index, drops = bucket.reqs, bucket.toks, bucket.head, 0
  while index and ((rpm and reqs + 1 > rpm) or (tpm and toks + tokens > tpm)) do
    local s = slice(bucket, index)
    reqs, toks = reqs - s.reqs, toks - s.toks
    at = math.max(at, leavesAt(bucket, index))
    index, drops = s.next, drops + 1
  end
  local headroom = 1
  if rpm then headroom = math.min(headroom, (rpm - reqs) / rpm) end
  if tpm then headroom = math.min(headroom, (tpm - toks) / tpm) end
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

-- Whom the bucket is kept for, if not for `ref`.
local function claimedByOther(bucket, ref)
  return bucket.claim ~= '' and bucket.claim ~= ref and bucket.claimUntil > now
end

-- Keeps the bucket for `ref` until its slot at `at` has come, and a little for the asking.
local function claim(bucket, ref, at)
  bucket.claim, bucket.claimUntil, bucket.touched = ref, at + bucket.horizonMs, true
end

local function writeBucket(bucket)
  if not bucket.touched then return end
  if bucket.reset then
    redis.call('DEL', bucket.name)
  else
    for from = 1, #bucket.dropped, 500 do
      redis.call('HDEL', bucket.name, unpack(bucket.dropped, from, math.min(from + 499, #bucket.dropped)))
    end
  end
  local fields = {
    'head', int(bucket.head), 'tail', int(bucket.tail), 'last', int(bucket.last), 'reqs', int(bucket.reqs),
    'toks', int(bucket.toks), 'extra', int(bucket.extra), 'extraAt', int(bucket.extraAt), 'slice', int(bucket.sliceMs),
    'claim', bucket.claim, 'claimUntil', int(bucket.claimUntil),
  }
  for index in pairs(bucket.dirty) do
    local s = bucket.slices[index]
    fields[#fields + 1] = 's' .. int(index)
    fields[#fields + 1] = int(s.reqs) .. ':' .. int(s.toks) .. ':' .. int(s.next)
  end
  redis.call('HSET', bucket.name, unpack(fields))
  redis.call('PEXPIRE', bucket.name, int(2 * bucket.keepMs + bucket.horizonMs + 60000))
end

