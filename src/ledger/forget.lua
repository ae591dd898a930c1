-- forget: removes a stream in which nothing is left; the empty one would stay for ever.
--
-- KEYS  1 stream
-- Returns 1 when it is gone (or never was), 0 when something is in it: then it stays. One step, since an answer that
-- comes late may be added at any moment. Safe to repeat.

if redis.call('XLEN', KEYS[1]) > 0 then return 0 end
redis.call('DEL', KEYS[1])
return 1
