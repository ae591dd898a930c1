-- sent: reserved slots whose time has come; their calls go out now.
--
-- KEYS  1 inflight hash
-- ARGV  line reference, attempt, line reference, attempt, …
-- Returns for each 1, or 0 when the slot is no longer this attempt's: it was given up as its sender's death, and the
-- call must not be made.
--
-- Until then a dead sender's slot was surely never used and is given back; from now on its call is possibly billed.

local replies = {}
for i = 1, #ARGV, 2 do
  local intent = redis.call('HGET', KEYS[1], ARGV[i])
  local head, rest
  -- Ten fields, then the mark, then the JSON (src/keys/intent.ts).
  if intent then head, rest = string.match(intent, '^(' .. string.rep('[^\t]*\t', 10) .. ')[01](\t.*)$') end
  local ours = head and string.sub(head, 1, #ARGV[i + 1] + 1) == ARGV[i + 1] .. '\t'
  if ours then redis.call('HSET', KEYS[1], ARGV[i], head .. '0' .. rest) end
  replies[#replies + 1] = ours and 1 or 0
end
return replies
