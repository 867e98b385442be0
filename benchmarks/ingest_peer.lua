-- Annotations of a few spans by ever other people for Phoenix; arguments: SEED SPAN...
local number, spans, seed = 0, {}, nil
local comment = string.rep("Clear and calm, but it does not say when to come back. ", 14)
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  seed = table.remove(args, 1)
  spans = args
end

function request()
  number = number + 1
  local body = string.format('{"data":[{"span_id":"%s","name":"thumb","annotator_kind":"HUMAN",' ..
    '"identifier":"%s-%d","result":{"label":"up","score":1.0,"explanation":"%s"}}]}',
    spans[number % #spans + 1], seed, number, comment)
  return string.format("POST /v1/span_annotations?sync=true HTTP/1.1\r\nHost: 127.0.0.1\r\n" ..
    "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", #body, body)
end

function done(summary, latency, requests)
  io.write(string.format('\nJSON{"requests":%d,"seconds":%.6f,"failed_replies":%d,' ..
    '"connection_errors":%d,"timeouts":%d,"p50_ms":%.3f,"p99_ms":%.3f}\n',
    summary.requests, summary.duration / 1e6, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write, summary.errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
