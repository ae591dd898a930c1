-- transition: moves a batch from one status to another, atomically; does nothing when it is in none of `from`.
--
-- KEYS  1 batch hash
-- ARGV  1 statuses it may come from, separated by spaces   2 status to go to   3… field, value, …: set along with it
-- Returns the status it had before, or '' when there is no such batch. The move happened iff that is one of `from`.

local before = redis.call('HGET', KEYS[1], 'status')
if not before then return '' end
for status in string.gmatch(ARGV[1], '%S+') do
  if status == before then
    redis.call('HSET', KEYS[1], 'status', ARGV[2], unpack(ARGV, 3))
    break
  end
end
return before
