-- commit: the collector's progress, after the files are on disk; then the stream may forget what they hold.
--
-- KEYS  1 lease   2 batch hash   3 results stream
-- ARGV  1 lease token   2 stream id committed before   3 last stream id in the files   4 id after it   5 lines
--       6 output bytes   7 error bytes   (5–7: totals)
-- Returns 'ok'; 'taken' when another process holds the lease; 'moved' when the commit before, or the stream, is not the
-- one that this collector knows. In both cases nothing is written, and this process must stop.
--
-- Safe to repeat: a client whose connection breaks after the commit sends it again, finds it done and changes nothing
-- (totals, not increments). A lease that ran out in an outage and was taken by nobody does no harm: the id guards.

local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 'taken' end
local committed = redis.call('HGET', KEYS[2], 'collectedId') or '0-0'
if committed ~= ARGV[2] and committed ~= ARGV[3] then return 'moved' end
-- A Redis that lost its last moments may know the commit before, but not the entries that were read since.
if committed ~= ARGV[3] and #redis.call('XRANGE', KEYS[3], ARGV[3], ARGV[3]) == 0 then return 'moved' end
redis.call('HSET', KEYS[2], 'collectedId', ARGV[3], 'collectedLines', ARGV[5], 'outputBytes', ARGV[6], 'errorBytes',
  ARGV[7])
redis.call('XTRIM', KEYS[3], 'MINID', ARGV[4])
return 'ok'
