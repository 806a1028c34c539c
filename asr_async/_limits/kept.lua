-- The time for which Redis has kept its data, for the script that follows. Needs clock.lua.
--
-- epoch: a key that is lost together with the leases. Its value is an instant from which on Redis has kept all leases.

local second = 1000000

-- Returns a part of INFO; an empty text where Redis refuses it, as some providers do.
local function info(section)
  local text = redis.pcall('INFO', section)
  return type(text) == 'string' and text or ''
end

-- Returns the value of a new epoch. Where keys have been removed since Redis started, or where that is not known,
-- sessions may be open whose leases are lost; else there never was a lease.
local function new_epoch()
  local commands, stats = info('commandstats'), info('stats')
  local is_unchanged = commands ~= '' and stats:find('evicted_keys:0\r', 1, true)
  return is_unchanged and not commands:find('cmdstat_flush%a+:calls=[1-9]') and 0 or now
end

-- Returns the microseconds for which Redis has kept all leases, and keeps the epoch for `keep` more.
local function kept_for(epoch, keep)
  redis.call('SET', epoch, redis.call('GET', epoch) or new_epoch(), 'PX', math.ceil(keep / 1000))
  -- a Redis that started again may have restored an old state; it started within the second of which INFO has the age
  local age = info('server'):match('uptime_in_seconds:(%d+)')
  local started = age and math.min(now, (math.floor(now / second) - age + 1) * second) or 0
  return now - math.max(started, redis.call('GET', epoch))
end
