-- sent: reserved slots whose time has come; their calls go out now.
--
-- KEYS  1 inflight hash   then per item: batch hash, key hash
-- ARGV  1 now in ms ('' = Redis TIME; tests pass a time)
--       2… per item: line reference, attempt, how many ms after its slot the call may go out
-- Returns for each: use      the call goes out
--                   lost     the slot is no longer this attempt's: it was given up as its sender's death
--                   closed   since it was granted the batch has stopped or the key was closed, perhaps by another
--                            machine's answer: the slot is still held, and to be given back
--                   late     the slot's time is long gone: the sender's machine was suspended, of which its own clock
--                            knows nothing. Still held, too
--
-- Until then a dead sender's slot was surely never used and is given back; from now on its call is possibly billed.

-- include prelude.lua

local function isClosed(batch, key, attempt)
  if redis.call('HGET', batch, 'status') ~= 'in_progress' then return true end
  local f = redis.call('HMGET', key, 'standing', 'probe')
  -- A key that is tried after trouble: this attempt is the trial.
  return f[1] and f[1] ~= 'active' and f[2] ~= attempt
end

local function fateOf(ref, attempt, withinMs, batch, key)
  local intent = redis.call('HGET', KEYS[1], ref)
  local head, rest, sentAt
  -- Ten fields, of which the eighth is the slot's time, then the mark, then the JSON (src/keys/intent.ts).
  local field = '[^\t]*\t'
  local pattern = '^(' .. string.rep(field, 7) .. '(%d*)\t' .. string.rep(field, 2) .. ')[01](\t.*)$'
  if intent then head, sentAt, rest = string.match(intent, pattern) end
  if not head or string.sub(head, 1, #attempt + 1) ~= attempt .. '\t' then return 'lost' end
  if isClosed(batch, key, attempt) then return 'closed' end
  if now - (tonumber(sentAt) or now) > withinMs then return 'late' end
  redis.call('HSET', KEYS[1], ref, head .. '0' .. rest)
  return 'use'
end

local replies = {}
for i = 2, #ARGV, 3 do
  local item = #replies + 1
  replies[item] = fateOf(ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), KEYS[2 * item], KEYS[2 * item + 1])
end
return replies
