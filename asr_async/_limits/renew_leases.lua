-- Renews leases of sessions that are open. Needs clock.lua and kept.lua.
--
-- KEYS: leases (see acquire_session.lua), epoch (see kept.lua)
-- ARGV: lease, keep (durations in microseconds), tokens...
-- Returns how many had expired. They count again, whatever the limit is: their sessions are open.

local leases, epoch = KEYS[1], KEYS[2]
local lease, keep, added = tonumber(ARGV[1]), tonumber(ARGV[2]), 0

kept_for(epoch, keep)
for i = 3, #ARGV do
  added = added + redis.call('ZADD', leases, now + lease, ARGV[i])
end
redis.call('PEXPIRE', leases, math.ceil(lease / 1000))
return added
