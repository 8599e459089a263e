-- A budget that several processes share, and what each of them has spent.
--
-- Each process says what it has spent in all, not what has been added: a call that is lost or comes twice makes no difference, and what a
-- server has forgotten is there again with the next call of each.
--
-- What a process that has died had reserved may have been billed.
--
-- KEYS: a hash, "amount" and for each process what it said last; the members, as the bucket knows them. ARGV: the request as JSON, the prefix of the channels.

local books, members = KEYS[1], KEYS[2]
local request, prefix = cjson.decode(ARGV[1]), ARGV[2]

local is_empty = redis.call('EXISTS', books) == 0
if request.lifts then
  redis.call('HDEL', books, 'amount')
elseif request.sets then
  redis.call('HSET', books, 'amount', string.format('%.17g', request.sets))
elseif is_empty and request.known then
  redis.call('HSET', books, 'amount', string.format('%.17g', request.known))
end
local amount = tonumber(redis.call('HGET', books, 'amount') or nil)

local others = {spent = 0, unconfirmed = 0, reserved = 0}
local all = redis.call('HGETALL', books)
for index = 1, #all, 2 do
  if all[index] ~= 'amount' and all[index] ~= request.ledger then
    local one = cjson.decode(all[index + 1])
    if redis.call('HEXISTS', members, one.member) == 0 then
      one.unconfirmed, one.reserved = one.unconfirmed + one.reserved, 0
    end
    for name, _ in pairs(others) do others[name] = others[name] + one[name] end
  end
end

local own, worst = request.own, request.worst or 0
local committed = worst
for name, _ in pairs(others) do committed = committed + others[name] + own[name] end
local fits = not amount or committed <= amount + 1e-9
if fits then own.reserved = own.reserved + worst end
own.member = request.member
redis.call('HSET', books, request.ledger, cjson.encode(own))
redis.call('EXPIRE', books, 3600)
if request.lifts or request.sets then
  redis.call('PUBLISH', prefix .. 'all', cjson.encode({about = 'budget', by = request.member, amount = amount or false}))
end

return cjson.encode({amount = amount or false, fits = fits, others = others})
