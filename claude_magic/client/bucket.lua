-- The token bucket of `_rate_limit.py`, shared by many processes. One call handles everything that a process has to send since
-- its last call.
--
-- `base` is the time at which the bucket would be full again without the waiting bookings; `tail` is the same including them. A
-- waiting booking is in `line`, a sorted set: the score is the time of the grant, the member is number, owner and amount. A booking
-- whose time has passed is granted, without another call. If something changes ahead of a booking (another one is given
-- back, an owner dies, a pause), all times are computed again, in the order of the numbers, and all processes are notified.
--
-- KEYS: the bucket, the line, the members. ARGV: the request as JSON, and the prefix of the channels.
-- Times are in seconds by the server's clock; replies contain durations.

local bucket, line, members = KEYS[1], KEYS[2], KEYS[3]
local request, prefix = cjson.decode(ARGV[1]), ARGV[2]
local me = request.member
local LIFETIME = 3600      -- seconds after the last call until the keys expire
local CHECK = 0.1          -- seconds between two checks for dead members
local DEAD_AFTER = 0.25   -- seconds without a subscription until a member is dead; a live one has noticed by then

local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6

local function text(number) return string.format('%.17g', number) end

local fields = {'rate', 'capacity', 'base', 'tail', 'after', 'paused', 'asked', 'number', 'epoch', 'last', 'checked'}
local stored = redis.call('HMGET', bucket, unpack(fields))
local state = {}
for index, name in ipairs(fields) do state[name] = tonumber(stored[index] or 0) end

local is_new = state.epoch == 0
local is_retimed, has_times, moved = false, false, false
local times, slots = {}, {}

if is_new then
  state.rate, state.capacity, state.epoch = request.rate, request.capacity, now
end

-- A burst leaves the refill of `slack` seconds unused, but at least 1 of the capacity can be used. Grants reach their
-- processes a little late, so two of them may be used closer together than they were given.
local function burst()
  return state.capacity - math.max(0, math.min(state.rate * request.slack, state.capacity - 1))
end

local function member_of(booking)
  return string.format('%016d|%s|%.12g', booking.number, booking.owner, booking.amount)
end

local function booking_of(member)
  local number, owner, amount = string.match(member, '^(%d+)|([^|]*)|(.*)$')
  return {number = tonumber(number), owner = owner, amount = tonumber(amount)}
end

local function pending()
  local found = {}
  for _, member in ipairs(redis.call('ZRANGE', line, 0, -1)) do found[#found + 1] = booking_of(member) end
  return found
end

-- Schedule a booking after all others, and return its time.
local function book(amount)
  local most = burst()
  local moment = math.max(now, state.paused, state.after, state.tail + (math.min(amount, most) - most) / state.rate)
  state.tail = math.max(state.tail, moment) + amount / state.rate
  state.after = moment
  return moment
end

local function place(booking)
  local moment = book(booking.amount)
  if moment <= now + 1e-6 then
    state.base = state.tail
  else
    redis.call('ZADD', line, text(moment), member_of(booking))
  end
  return math.max(0, moment - now)
end

local function retime(bookings)
  table.sort(bookings, function(one, other) return one.number < other.number end)
  redis.call('DEL', line)
  state.tail, state.after = state.base, 0
  times = {}
  for _, booking in ipairs(bookings) do
    local wait = place(booking)
    if booking.owner == me then times[#times + 1] = {booking.number, wait} else moved = true end
  end
  has_times = true
end

-- Grants since the last call...
if now < state.last then
  -- The clock was set back, or another server has taken over: shift all times accordingly.
  local back = state.last - now
  for _, name in ipairs({'base', 'tail', 'paused', 'asked', 'checked'}) do state[name] = state[name] - back end
  state.after = 0
  is_retimed, moved = true, true
end
state.last = now
local passed = redis.call('ZRANGEBYSCORE', line, '-inf', text(now), 'WITHSCORES')
for index = 1, #passed, 2 do
  state.base = math.max(state.base, tonumber(passed[index + 1])) + booking_of(passed[index]).amount / state.rate
end
if #passed > 0 then redis.call('ZREMRANGEBYSCORE', line, '-inf', text(now)) end
if redis.call('ZCARD', line) == 0 then state.tail = state.base end

-- Living and dead members...
local is_gone = false
if request.epoch then
  is_gone = request.epoch ~= text(state.epoch) or redis.call('HEXISTS', members, me) == 0
  if is_gone then request.back, request.late = {}, {} end  -- its bookings were already dropped
end
local members_changed = redis.call('HSETNX', members, me, '0') == 1

local dead = {}
if now - state.checked >= CHECK then
  state.checked = now
  local names = redis.call('HGETALL', members)
  for index = 1, #names, 2 do
    local since = tonumber(names[index + 1])
    if names[index] == me or redis.call('PUBSUB', 'NUMSUB', prefix .. names[index])[2] > 0 then
      if since ~= 0 then redis.call('HSET', members, names[index], '0') end
    elseif since == 0 then
      redis.call('HSET', members, names[index], text(now))
    elseif now - since >= DEAD_AFTER then
      redis.call('HDEL', members, names[index])
      dead[names[index]], is_retimed, members_changed = true, true, true
    end
  end
end
local count = redis.call('HLEN', members)

-- The request of this process...
local function configure(rate, capacity)
  local level = math.min(capacity, state.capacity - math.max(0, state.base - now) * state.rate)
  state.rate, state.capacity = rate, capacity
  state.base = now + (capacity - level) / rate
  is_retimed, moved = true, true
end

if request.configure then
  configure(request.rate, request.capacity)
elseif not request.epoch and not is_new and (count == 1 or request.rate < state.rate) then
  configure(request.rate, request.capacity)  -- the lowest rate of all members applies
end
if request.resume then
  state.paused, state.asked, is_retimed = 0, 0, true
end
if request.pause then
  if now + request.pause > state.paused then
    state.paused, is_retimed = now + request.pause, true
  end
  state.asked = math.max(state.asked, now + math.max(request.pause, request.asked))
end
if request.used > 0 then  -- taken locally while the server was unreachable
  state.base, is_retimed = math.max(state.base, now) + request.used / state.rate, true
end
local late = {}
for _, each in ipairs(request.back) do
  local booking = {number = each[1], owner = me, amount = each[2]}
  if redis.call('ZREM', line, member_of(booking)) == 0 then
    state.base = state.base - booking.amount / state.rate  -- it was granted, but not used
  end
  is_retimed = true
end
for _, each in ipairs(request.late) do
  local booking = {number = each[1], owner = me, amount = each[2]}
  if redis.call('ZREM', line, member_of(booking)) == 0 then
    state.base = state.base - booking.amount / state.rate
  end
  late[#late + 1], is_retimed = booking, true
end
if is_retimed then
  local bookings = late
  for _, booking in ipairs(pending()) do
    if not dead[booking.owner] then bookings[#bookings + 1] = booking end
  end
  retime(bookings)
end
for index, amount in ipairs(request.ask) do
  state.number = state.number + 1
  slots[index] = {state.number, place({number = state.number, owner = me, amount = amount})}
end
if request.wants_times and not has_times then
  for _, booking in ipairs(pending()) do
    if booking.owner == me then
      times[#times + 1] = {booking.number, tonumber(redis.call('ZSCORE', line, member_of(booking))) - now}
    end
  end
  has_times = true
end

-- Store the state, and notify other processes...
local values = {}
for _, name in ipairs(fields) do
  values[#values + 1], values[#values + 2] = name, text(state[name])
end
redis.call('HSET', bucket, unpack(values))
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, LIFETIME) end
if request.pause or request.resume then
  local message = {about = 'bucket', by = me, members = count, moved = true, paused = math.max(0, state.paused - now), asked = math.max(0, state.asked - now)}
  redis.call('PUBLISH', prefix .. 'all', cjson.encode(message))
elseif moved or members_changed then
  redis.call('PUBLISH', prefix .. 'all', cjson.encode({about = 'bucket', by = me, members = count, moved = moved}))
end

return cjson.encode({
  epoch = text(state.epoch), gone = is_gone, slots = slots, has_times = has_times, times = times,
  tail = state.tail - now, after = math.max(0, state.after - now),
  paused = math.max(0, state.paused - now), asked = math.max(0, state.asked - now),
  rate = state.rate, capacity = state.capacity, burst = burst(), members = count, waiting = redis.call('ZCARD', line),
})
