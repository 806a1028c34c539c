-- A queue of requests that wait, for the script that follows. Needs clock.lua.
--
-- queue: a sorted set of the tokens of the requests, by the instant at which each was first made.
-- deadlines: the same tokens, by the instant before which each request has to be repeated. A request that is not
--   repeated in time leaves the queue, so that a process that died does not block the others.

-- Removes the requests that were not repeated in time, adds this one unless it is there, and returns how many are
-- ahead of it.
local function enqueue(queue, deadlines, token)
  for _, late in ipairs(redis.call('ZRANGEBYSCORE', deadlines, '-inf', now)) do
    redis.call('ZREM', queue, late)
    redis.call('ZREM', deadlines, late)
  end
  redis.call('ZADD', queue, 'NX', now, token)
  return redis.call('ZRANK', queue, token)
end

-- Sets the deadline of a request that has to be repeated after `wait`, with some `grace`. Returns `wait`.
local function keep_waiting(queue, deadlines, token, wait, grace)
  redis.call('ZADD', deadlines, now + wait + grace, token)
  -- both sets vanish 10 seconds after the last deadline
  redis.call('PEXPIRE', queue, math.ceil((wait + grace) / 1000) + 10000)
  redis.call('PEXPIRE', deadlines, math.ceil((wait + grace) / 1000) + 10000)
  return wait
end

-- Removes a request that was granted.
local function dequeue(queue, deadlines, token)
  redis.call('ZREM', queue, token)
  redis.call('ZREM', deadlines, token)
end
