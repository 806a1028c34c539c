-- Extends the backoff, unless it already ends later. Needs clock.lua.
--
-- KEYS: backoff (see acquire_start.lua)
-- ARGV: duration in microseconds

local backoff, duration = KEYS[1], tonumber(ARGV[1])

if now + duration > tonumber(redis.call('GET', backoff) or 0) then
  redis.call('SET', backoff, now + duration, 'PX', math.ceil(duration / 1000) + 1)
end
return 0
