-- Acquires a lease for a session, if fewer than `max_sessions` are open. Needs clock.lua and queue.lua.
--
-- KEYS: leases (a sorted set of the tokens of the open sessions, by the instant at which each lease expires),
--   queue, deadlines
-- ARGV: token, max_sessions, lease, poll, grace (durations in microseconds)
-- Returns 0 if the session has its lease, else the microseconds after which to repeat the request.

local leases, queue, deadlines = KEYS[1], KEYS[2], KEYS[3]
local token, max_sessions, lease = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local poll, grace = tonumber(ARGV[4]), tonumber(ARGV[5])

redis.call('ZREMRANGEBYSCORE', leases, '-inf', now)
-- true if the reply to an earlier request was lost: the session keeps the lease that it has
local has_lease = redis.call('ZSCORE', leases, token)
local ahead = enqueue(queue, deadlines, token)
if not has_lease and redis.call('ZCARD', leases) + ahead >= max_sessions then
  return keep_waiting(queue, deadlines, token, poll, grace)
end

dequeue(queue, deadlines, token)
redis.call('ZADD', leases, now + lease, token)
redis.call('PEXPIRE', leases, math.ceil(lease / 1000))
return 0
