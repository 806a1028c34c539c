-- Acquires the permit for one start (or connection), if the backoff is over and the last second holds fewer than
-- `per_second`. Needs clock.lua and queue.lua.
--
-- KEYS: starts (a sorted set of the tokens of the starts in the last second, by the instant of each), queue, deadlines,
--   backoff (the instant at which the backoff after a refusal ends)
-- ARGV: token, per_second (0: no limit), window, longest, grace (durations in microseconds)
-- Returns 0 if the start is permitted now, else the microseconds, `longest` at most, after which to repeat the request.

local starts, queue, deadlines, backoff = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local token, per_second, window = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local longest, grace = tonumber(ARGV[4]), tonumber(ARGV[5])

redis.call('ZREMRANGEBYSCORE', starts, '-inf', now - window)
-- a client that has a permit and repeats the request did not use it
redis.call('ZREM', starts, token)

local wait = (redis.call('GET', backoff) or now) - now
local ahead = enqueue(queue, deadlines, token)
local too_many = per_second > 0 and redis.call('ZCARD', starts) + ahead + 1 - per_second or 0
if too_many > 0 then
  -- this start is within the limit as soon as the last of the `too_many` oldest starts has left the window
  local last = redis.call('ZRANGE', starts, too_many - 1, too_many - 1, 'WITHSCORES')[2]
  wait = math.max(wait, last and last + window - now or window)
end
if wait > 0 then
  return keep_waiting(queue, deadlines, token, math.min(wait, longest), grace)
end

dequeue(queue, deadlines, token)
redis.call('ZADD', starts, now, token)
redis.call('PEXPIRE', starts, math.ceil(window / 1000) + 1000)
return 0
