-- Posts of about 1.1 KB for wrk; arguments: KIND SEED TOKEN [count]
--   own_id: a feedback_id and a rater each, so that every post has a receipt and a natural key
--   bare:   neither
--   mixed:  one third own_id, one third with an Idempotency-Key as well, one third anonymous;
--           one post in ten repeats the one before it, one in ten changes a rating
-- `count` counts replies by status, and refusals that name no Retry-After.
local prompts = {
  "My daughter has had a cold for three days and now says that her left ear hurts when she lies down. ",
  "Which of the two contracts do I have to sign first when I buy the flat and the parking place together? ",
  "The build fails since yesterday with a message about a missing header although nothing was changed here. ",
}
local response = "Rest and plenty to drink are what helps most in the first days. " ..
  "Look at how it develops over the next day or two, write down what changes and when, and compare. " ..
  "If it becomes worse in the meantime, or if something new appears, ask somebody who can look at it in person. " ..
  "Nothing of what was described needs to be decided today, and most of it can be undone later on. " ..
  "A second opinion costs little, and the papers that are needed for it are the ones listed above. " ..
  "Keep a copy of everything that is handed over, with the date, and ask for a confirmation in writing. "
local comment = "Clear and calm, but it does not say when to come back, which is what I had asked about."
local head = "POST /feedback HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n" ..
  "Authorization: Bearer %s\r\n%sContent-Length: %d\r\n\r\n%s"
local template = '{%s"session_id":"s-%d","agent_name":"helper","prompt":"%sCase %s.","response":"%sCase %s.",' ..
  '"rating":%d,"thumbs":"%s","comment":"%s","task_type":"advice","context":{"channel":"chat","turn":%d},' ..
  '"model_version":"helper-2026-04"}'
local threads, number, last, kind, seed, token = {}, 0, nil, nil, nil, nil
statuses, silent = {}, 0

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  kind, seed, token = args[1], args[2], args[3]
  if args[4] == "count" then
    response_of = function(status, headers)
      statuses[status] = (statuses[status] or 0) + 1
      if status == 503 and not headers["retry-after"] then silent = silent + 1 end
    end
    _G["response"] = response_of
  end
end

local function post(case, rating, ids, key)
  local thumb = rating > 2 and "up" or "down"
  local body = string.format(template, ids, number, prompts[number % 3 + 1], case, response, case,
    rating, thumb, comment, number % 9)
  return string.format(head, token, key, #body, body)
end

local function named(case)
  return string.format('"feedback_id":"%s","rater_id":"rater-%d",', case, number % 5000)
end

local function mixed(case)
  local turn = number % 10
  if turn == 0 and last then return last end
  if turn == 1 then
    local rated = string.format('"rater_id":"rater-%d",', (number - 8) % 5000)
    return post(seed .. "-" .. (number - 8), 1, rated, "")
  end
  if turn % 3 == 0 then return post(case, 4, named(case), "") end
  if turn % 3 == 1 then
    return post(case, 4, named(case), string.format("Idempotency-Key: key-%s\r\n", case))
  end
  return post(case, 4, "", "")
end

function request()
  number = number + 1
  local case = seed .. "-" .. number
  if kind == "mixed" then
    last = mixed(case)
    return last
  end
  return post(case, number % 5 + 1, kind == "own_id" and named(case) or "", "")
end

function done(summary, latency, requests)
  local counted = {}
  local unnamed = 0
  for _, thread in ipairs(threads) do
    for status, count in pairs(thread:get("statuses")) do
      counted[status] = (counted[status] or 0) + count
    end
    unnamed = unnamed + thread:get("silent")
  end
  local parts = {}
  for status, count in pairs(counted) do
    table.insert(parts, string.format('"%d":%d', status, count))
  end
  io.write(string.format('\nJSON{"requests":%d,"seconds":%.6f,"failed_replies":%d,' ..
    '"connection_errors":%d,"timeouts":%d,"p50_ms":%.3f,"p99_ms":%.3f,"statuses":{%s},' ..
    '"refusals_without_retry_after":%d}\n',
    summary.requests, summary.duration / 1e6, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write, summary.errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, table.concat(parts, ","), unnamed))
end
