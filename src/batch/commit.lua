-- commit: the collector's progress, after the files are on disk; then the stream may forget what they hold.
--
-- KEYS  1 lease   2 batch hash   3 results stream
-- ARGV  1 lease token   2 last stream id in the files   3 id after it   4 lines added   5 output bytes   6 error bytes
-- Returns 1, or 0 when the lease is no longer ours: someone else collects now, and this process must stop.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[2], 'collectedId', ARGV[2], 'outputBytes', ARGV[5], 'errorBytes', ARGV[6])
redis.call('HINCRBY', KEYS[2], 'collectedLines', ARGV[4])
redis.call('XTRIM', KEYS[3], 'MINID', ARGV[3])
return 1
