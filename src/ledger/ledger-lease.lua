-- Takes, renews or releases the ledger drain's lease: one process at a time drains a namespace.
--
-- KEYS[1]  the lease: a string with expiry that holds its holder's token
-- ARGV[1]  the caller's token
-- ARGV[2]  for how many ms to take or renew it; 0 releases it
-- Returns  1 if the caller holds the lease after this call, else 0
--
-- Only the holder renews or releases, so a process that was away too long cannot disturb its successor. The expiry
-- frees the lease of a process that died.
local holder = redis.call('GET', KEYS[1])
local lease_ms = tonumber(ARGV[2])
if holder and holder ~= ARGV[1] then
  return 0
end
if lease_ms == 0 then
  redis.call('DEL', KEYS[1])
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', lease_ms)
return 1
