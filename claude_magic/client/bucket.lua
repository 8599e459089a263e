-- The token bucket of `_rate_limit.py` on a server, for many processes. One call does all that a process has to say since its last one.
--
-- `base` is the moment at which the bucket would be full again if nobody waited; `tail` the same behind all who wait. Who waits has a
-- ticket in `line`, a sorted set: the score is the moment of the grant, the member is its number, its owner and its amount. A moment that
-- has passed is a grant: nobody has to come back for it. Where something changes before a ticket (another is given back, its owner
-- is dead, a pause), the moments behind it are computed again, in the order of the numbers, and all are told.
--
-- KEYS: the bucket, the line, the members. ARGV: the request as JSON, the prefix of the channels.
-- Moments are seconds by the server's clock; replies hold durations.

local bucket, line, members = KEYS[1], KEYS[2], KEYS[3]
local request, prefix = cjson.decode(ARGV[1]), ARGV[2]
local me = request.member
local LIFETIME = 3600      -- seconds after the last call, then all is forgotten
local CHECK = 0.1          -- seconds between two looks at who is alive
local SURELY_DEAD = 0.25   -- seconds without a subscription: a living member has noticed by then, and uses no ticket

local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6

local function text(number) return string.format('%.17g', number) end

local fields = {'rate', 'capacity', 'base', 'tail', 'after', 'paused', 'asked', 'number', 'epoch', 'last', 'checked'}
local stored = redis.call('HMGET', bucket, unpack(fields))
local state = {}
for index, name in ipairs(fields) do state[name] = tonumber(stored[index] or 0) end

local is_new = state.epoch == 0
local is_retimed, is_told, moved = false, false, false
local times, slots = {}, {}

if is_new then
  state.rate, state.capacity, state.epoch = request.rate, request.capacity, now
end

-- Of the burst, what flows in during `slack` is held back for that long: grants reach their processes a little late, and two of them
-- may come nearer to each other than they were given.
local function burst()
  return state.capacity - math.max(0, math.min(state.rate * request.slack, state.capacity - 1))
end

local function member_of(ticket)
  return string.format('%016d|%s|%.12g', ticket.number, ticket.owner, ticket.amount)
end

local function ticket_of(member)
  local number, owner, amount = string.match(member, '^(%d+)|([^|]*)|(.*)$')
  return {number = tonumber(number), owner = owner, amount = tonumber(amount)}
end

local function pending()
  local found = {}
  for _, member in ipairs(redis.call('ZRANGE', line, 0, -1)) do found[#found + 1] = ticket_of(member) end
  return found
end

-- Book a ticket behind all that are booked, and return its moment.
local function book(amount)
  local most = burst()
  local moment = math.max(now, state.paused, state.after, state.tail + (math.min(amount, most) - most) / state.rate)
  state.tail = math.max(state.tail, moment) + amount / state.rate
  state.after = moment
  return moment
end

local function place(ticket)
  local moment = book(ticket.amount)
  if moment <= now + 1e-6 then
    state.base = state.tail
  else
    redis.call('ZADD', line, text(moment), member_of(ticket))
  end
  return math.max(0, moment - now)
end

local function retime(tickets)
  table.sort(tickets, function(one, other) return one.number < other.number end)
  redis.call('DEL', line)
  state.tail, state.after = state.base, 0
  times = {}
  for _, ticket in ipairs(tickets) do
    local wait = place(ticket)
    if ticket.owner == me then times[#times + 1] = {ticket.number, wait} else moved = true end
  end
  is_told = true
end

-- What has passed since the last call...
if now < state.last then
  -- The clock was set back, or another server has taken over: all moments move with it.
  local back = state.last - now
  for _, name in ipairs({'base', 'tail', 'paused', 'asked', 'checked'}) do state[name] = state[name] - back end
  state.after = 0
  is_retimed, moved = true, true
end
state.last = now
local passed = redis.call('ZRANGEBYSCORE', line, '-inf', text(now), 'WITHSCORES')
for index = 1, #passed, 2 do
  state.base = math.max(state.base, tonumber(passed[index + 1])) + ticket_of(passed[index]).amount / state.rate
end
if #passed > 0 then redis.call('ZREMRANGEBYSCORE', line, '-inf', text(now)) end
if redis.call('ZCARD', line) == 0 then state.tail = state.base end

-- Who is there...
local is_gone = false
if request.epoch then
  is_gone = request.epoch ~= text(state.epoch) or redis.call('HEXISTS', members, me) == 0
  if is_gone then request.back, request.late = {}, {} end  -- its tickets are others' now
end
local is_other_crowd = redis.call('HSETNX', members, me, '0') == 1

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
    elseif now - since >= SURELY_DEAD then
      redis.call('HDEL', members, names[index])
      dead[names[index]], is_retimed, is_other_crowd = true, true, true
    end
  end
end
local count = redis.call('HLEN', members)

-- What this one has to say...
local function configure(rate, capacity)
  local level = math.min(capacity, state.capacity - math.max(0, state.base - now) * state.rate)
  state.rate, state.capacity = rate, capacity
  state.base = now + (capacity - level) / rate
  is_retimed, moved = true, true
end

if request.configure then
  configure(request.rate, request.capacity)
elseif not request.epoch and not is_new and (count == 1 or request.rate < state.rate) then
  configure(request.rate, request.capacity)  -- of those who share a bucket the most careful one decides
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
if request.used > 0 then  -- taken without asking, while the server was away
  state.base, is_retimed = math.max(state.base, now) + request.used / state.rate, true
end
local late = {}
for _, each in ipairs(request.back) do
  local ticket = {number = each[1], owner = me, amount = each[2]}
  if redis.call('ZREM', line, member_of(ticket)) == 0 then
    state.base = state.base - ticket.amount / state.rate  -- it had passed, and was not used
  end
  is_retimed = true
end
for _, each in ipairs(request.late) do
  local ticket = {number = each[1], owner = me, amount = each[2]}
  if redis.call('ZREM', line, member_of(ticket)) == 0 then
    state.base = state.base - ticket.amount / state.rate
  end
  late[#late + 1], is_retimed = ticket, true
end
if is_retimed then
  local tickets = late
  for _, ticket in ipairs(pending()) do
    if not dead[ticket.owner] then tickets[#tickets + 1] = ticket end
  end
  retime(tickets)
end
for index, amount in ipairs(request.ask) do
  state.number = state.number + 1
  slots[index] = {state.number, place({number = state.number, owner = me, amount = amount})}
end
if request.look and not is_told then
  for _, ticket in ipairs(pending()) do
    if ticket.owner == me then
      times[#times + 1] = {ticket.number, tonumber(redis.call('ZSCORE', line, member_of(ticket))) - now}
    end
  end
  is_told = true
end

-- What stays, and what all have to know...
local values = {}
for _, name in ipairs(fields) do
  values[#values + 1], values[#values + 2] = name, text(state[name])
end
redis.call('HSET', bucket, unpack(values))
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, LIFETIME) end
if request.pause or request.resume then
  local told = {about = 'bucket', by = me, members = count, moved = true, paused = math.max(0, state.paused - now), asked = math.max(0, state.asked - now)}
  redis.call('PUBLISH', prefix .. 'all', cjson.encode(told))
elseif moved or is_other_crowd then
  redis.call('PUBLISH', prefix .. 'all', cjson.encode({about = 'bucket', by = me, members = count, moved = moved}))
end

return cjson.encode({
  epoch = text(state.epoch), gone = is_gone, slots = slots, told = is_told, times = times,
  tail = state.tail - now, after = math.max(0, state.after - now),
  paused = math.max(0, state.paused - now), asked = math.max(0, state.asked - now),
  rate = state.rate, capacity = state.capacity, burst = burst(), members = count, waiting = redis.call('ZCARD', line),
})
