#!/usr/bin/env bash
# Records an interaction, says what people think of it, and reads it back, with nothing but curl.
set -euo pipefail
url=${HEED_URL:-http://127.0.0.1:8000}
: "${HEED_API_KEY:?set it to a key, for example: export HEED_API_KEY=\$(cat .heed/dev.key)}"

# The key comes from a file descriptor, so that no list of processes shows it.
heed() {
  curl --silent --show-error --fail-with-body --max-time 10 --retry 3 \
    --config <(printf 'header = "Authorization: Bearer %s"\n' "$HEED_API_KEY") \
    --header 'Content-Type: application/json' "$@"
  echo
}

id="curl-$(date +%s)-$$"
heed "$url/interactions" --data @- <<JSON
{"interaction_id": "$id", "prompt": "Explain the greenhouse effect", "response": "Gases hold heat back."}
JSON

# The same Idempotency-Key with the same body is stored once, however often it is sent.
heed "$url/feedback" --header "Idempotency-Key: $id-stars" --data @- <<JSON
{"interaction_id": "$id", "rating": 4, "rater_id": 7, "comment": "Clear"}
JSON

heed "$url/preference" --header "Idempotency-Key: $id-pair" --data @- <<JSON
{"prompt": "Explain the greenhouse effect", "response_a": "Gases hold heat back.", "response_b": "The sun.", "preferred": "a"}
JSON

heed --get "$url/feedback" --data-urlencode "interaction_id=$id"
