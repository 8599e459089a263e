-- Shares the state of the API's rate limits between processes: stores it for new processes, and publishes it to the others.
--
-- KEYS: a hash from class of models to the latest state, its time and its process. ARGV: the request as JSON, and the prefix
-- of the channels.

local stored = KEYS[1]
local request, prefix = cjson.decode(ARGV[1]), ARGV[2]
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6

for name, state in pairs(request.states) do
  local text = cjson.encode({by = request.member, at = now, state = state})
  redis.call('HSET', stored, name, text)
  redis.call('EXPIRE', stored, 120)
end
if next(request.states) then
  redis.call('PUBLISH', prefix .. 'all', cjson.encode({about = 'pace', by = request.member, states = request.states}))
end
local found = {}
if request.fetch then
  local all = redis.call('HGETALL', stored)
  for index = 1, #all, 2 do
    local each = cjson.decode(all[index + 1])
    found[all[index]] = {by = each.by, age = math.max(0, now - each.at), state = each.state}
  end
end
return cjson.encode(found)
