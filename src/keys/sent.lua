-- sent: reserved slots whose time has come; their calls go out now.
--
-- KEYS  1 inflight hash   then per item: batch hash, key hash
-- ARGV  line reference, attempt, line reference, attempt, …
-- Returns for each: use      the call goes out
--                   lost     the slot is no longer this attempt's: it was given up as its sender's death
--                   closed   since it was granted the batch has stopped or the key was closed, perhaps by another
--                            machine's answer: the slot is still held, and to be given back
--
-- Until then a dead sender's slot was surely never used and is given back; from now on its call is possibly billed.

local function isClosed(batch, key, attempt)
  if redis.call('HGET', batch, 'status') ~= 'in_progress' then return true end
  local f = redis.call('HMGET', key, 'standing', 'probe')
  -- A key that is tried after trouble: this attempt is the trial.
  return f[1] and f[1] ~= 'active' and f[2] ~= attempt
end

local replies = {}
for i = 1, #ARGV, 2 do
  local ref, attempt = ARGV[i], ARGV[i + 1]
  local intent = redis.call('HGET', KEYS[1], ref)
  local head, rest
  -- Ten fields, then the mark, then the JSON (src/keys/intent.ts).
  if intent then head, rest = string.match(intent, '^(' .. string.rep('[^\t]*\t', 10) .. ')[01](\t.*)$') end
  local ours = head and string.sub(head, 1, #attempt + 1) == attempt .. '\t'
  local reply = 'lost'
  if ours then reply = isClosed(KEYS[i + 1], KEYS[i + 2], attempt) and 'closed' or 'use' end
  if reply == 'use' then redis.call('HSET', KEYS[1], ref, head .. '0' .. rest) end
  replies[#replies + 1] = reply
end
return replies
