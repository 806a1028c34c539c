-- Acquires a lease for a session, if fewer than `max_sessions` are open. Needs clock.lua, queue.lua and kept.lua.
--
-- KEYS: leases (a sorted set of the tokens of the open sessions, by the instant at which each lease expires),
--   queue, deadlines, epoch (see kept.lua)
-- ARGV: token, max_sessions, lease, poll, grace, settle, keep (durations in microseconds)
-- Returns 0 if the session has its lease, else the microseconds after which to repeat the request: negative if the
--   reason is that Redis may have lost its data just now, since then clients have open sessions that do not count yet.

local leases, queue, deadlines, epoch = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local token, max_sessions, lease = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local poll, grace, settle, keep = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])

redis.call('ZREMRANGEBYSCORE', leases, '-inf', now)
-- true if the reply to an earlier request was lost: the session keeps the lease that it has
local has_lease = redis.call('ZSCORE', leases, token)
local ahead = enqueue(queue, deadlines, token)
local is_settled = kept_for(epoch, keep) >= settle
if not has_lease and (not is_settled or redis.call('ZCARD', leases) + ahead >= max_sessions) then
  return keep_waiting(queue, deadlines, token, poll, grace) * (is_settled and 1 or -1)
end

dequeue(queue, deadlines, token)
redis.call('ZADD', leases, now + lease, token)
redis.call('PEXPIRE', leases, math.ceil(lease / 1000))
return 0
