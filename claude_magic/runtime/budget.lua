-- A budget that several processes share, and the amounts that each of them has spent and reserved.
--
-- Each process reports its totals, not increments. So a call that is lost or repeated makes no difference, and if the
-- server loses its data, the next call of each process restores them.
--
-- The reservations of a dead process count as unconfirmed, because its requests may have been billed.
--
-- KEYS: a hash with the field "amount" and the last report of each ledger; the members, as in `bucket.lua`. ARGV: the
-- request as JSON, and the prefix of the channels.

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
