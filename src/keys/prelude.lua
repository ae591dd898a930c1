-- prelude: what acquire.lua and settle.lua begin with. `now` in ms: ARGV[1], which tests pass, else Redis' own clock.

local now
if ARGV[1] ~= '' then
  now = tonumber(ARGV[1])
else
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local day = math.floor(now / 86400000)

-- Lua writes large numbers as 1e+15; Redis wants digits. Nothing becomes the empty string.
local function int(number)
  return number and string.format('%.0f', number) or ''
end

-- The fields of an intent but the last one, which is JSON (src/keys/intent.ts).
local function split(intent)
  local fields = {}
  for field in string.gmatch(intent, '([^\t]*)\t') do fields[#fields + 1] = field end
  return fields
end

