-- sums: what a script writes once, at its end, for all its items: numbers that only add up, deleted fields, ledger rows.
--
-- Between `add` and `writeAll` nothing may read what is still to be written, but through `pending`.

local sums = {}   -- hash → field → what is added to it
local slices = {} -- bucket → slice → what is added to its requests and tokens
local gone = {}   -- hash → fields that are deleted
local entries = {} -- ledger stream → its new entries, as the fields of one

local function add(hash, field, number)
  if number == 0 then return end
  local fields = sums[hash]
  if not fields then fields = {}; sums[hash] = fields end
  fields[field] = (fields[field] or 0) + number
end

local function pending(hash, field)
  return sums[hash] and sums[hash][field] or 0
end

local function delete(hash, field)
  local fields = gone[hash]
  if not fields then fields = {}; gone[hash] = fields end
  fields[#fields + 1] = field
end

local function append(stream, entry)
  local fields = entries[stream]
  if not fields then fields = {}; entries[stream] = fields end
  fields[#fields + 1], fields[#fields + 2] = 'e', entry
end

-- Moves the estimate in the window to the real number of tokens, or gives the whole slot back.
local function correctWindow(bucket, intent, reqs, tokens)
  if reqs == 0 and tokens == 0 then return end
  local ofBucket = slices[bucket]
  if not ofBucket then ofBucket = {}; slices[bucket] = ofBucket end
  local sum = ofBucket[intent.slice]
  if not sum then sum = { reqs = 0, toks = 0 }; ofBucket[intent.slice] = sum end
  sum.reqs, sum.toks = sum.reqs + reqs, sum.toks + tokens
end

local function writeWindow(bucket)
  for index, sum in pairs(slices[bucket] or {}) do
    local packed = redis.call('HGET', bucket, 's' .. index)
    -- A slice that has left the window has taken its numbers along.
    if packed then
      local hadReqs, hadToks, next = string.match(packed, '^(%-?%d+):(%-?%d+):(%d*)$')
      redis.call('HSET', bucket, 's' .. index, int(hadReqs + sum.reqs) .. ':' .. int(hadToks + sum.toks) .. ':' .. next)
      add(bucket, 'reqs', sum.reqs)
      add(bucket, 'toks', sum.toks)
    end
  end
  slices[bucket] = nil
end

local function writeAll()
  for bucket in pairs(slices) do writeWindow(bucket) end
  for hash, fields in pairs(gone) do redis.call('HDEL', hash, unpack(fields)) end
  for hash, fields in pairs(sums) do
    for field, number in pairs(fields) do redis.call('HINCRBY', hash, field, int(number)) end
  end
  for stream, fields in pairs(entries) do redis.call('XADD', stream, '*', unpack(fields)) end
end
