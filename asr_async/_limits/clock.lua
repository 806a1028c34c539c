-- The clock of Redis, for the script that follows.
-- Instants and durations are whole microseconds, which a double holds exactly.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
