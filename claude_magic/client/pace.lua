-- What the server of the API has said of its limits, by classes of models: kept for who comes, told to who is there.
--
-- KEYS: a hash, class of models -> who has learnt it, when, and what. ARGV: the request as JSON, the prefix of the channels.

local kept = KEYS[1]
local request, prefix = cjson.decode(ARGV[1]), ARGV[2]
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6

for name, lesson in pairs(request.lessons) do
  local text = cjson.encode({by = request.member, at = now, lesson = lesson})
  redis.call('HSET', kept, name, text)
  redis.call('EXPIRE', kept, 120)
end
if next(request.lessons) then
  redis.call('PUBLISH', prefix .. 'all', cjson.encode({about = 'pace', by = request.member, lessons = request.lessons}))
end
local found = {}
if request.asks then
  local all = redis.call('HGETALL', kept)
  for index = 1, #all, 2 do
    local each = cjson.decode(all[index + 1])
    found[all[index]] = {by = each.by, age = math.max(0, now - each.at), lesson = each.lesson}
  end
end
return cjson.encode(found)
