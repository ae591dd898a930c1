-- prelude: what acquire.lua, sent.lua and settle.lua begin with. `now` in ms: ARGV[1], which tests pass, else Redis' own clock.

local now
if ARGV[1] ~= '' then
  now = tonumber(ARGV[1])
else
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local day = math.floor(now / 86400000)

-- Lua writes large numbers as 1e+15; Redis wants digits. Nothing becomes the empty string. ('%.0f' takes twice as long.)
local function int(number)
  return number and string.format('%d', math.floor(number + 0.5)) or ''
end

-- An intent's fields (src/keys/intent.ts): attempt, key, slice, tokens, cost, sent at, model, probe,
-- reserved; nil when it is none.
local intentPattern = '^([^\t]*)\t[^\t]*\t([^\t]*)\t[^\t]*\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t'
local function intentFields(intent)
  return string.match(intent, intentPattern)
end

-- What is left of a bucket's widened guard: half after ten windows, ten minutes at least. Of a longer window it must last
-- until what was sent late has left the window (src/keys/window.ts says the same to lateness.ts).
local function extraLeft(extra, sinceMs, windowMs)
  return extra * 0.5 ^ (math.max(0, now - sinceMs) / math.max(600000, 10 * windowMs))
end
