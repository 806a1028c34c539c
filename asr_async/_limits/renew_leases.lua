-- Renews leases of sessions that are open. Needs clock.lua.
--
-- KEYS: leases (see acquire_session.lua)
-- ARGV: lease (a duration in microseconds), tokens...
-- Returns how many had expired. They count again, whatever the limit is: their sessions are open.

local lease, added = tonumber(ARGV[1]), 0

for i = 2, #ARGV do
  added = added + redis.call('ZADD', KEYS[1], now + lease, ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], math.ceil(lease / 1000))
return added
