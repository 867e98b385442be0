#!/usr/bin/env bash
# Train a reward model, a policy with PPO, or one after the other: scripts/train_model.sh reward|ppo|both [options]
#
# Options (and the variables they stand for): --base-model (REWARD_BASE_MODEL, PPO_BASE_MODEL), --dataset (DATASET),
# --output (REWARD_OUTPUT, PPO_OUTPUT), --epochs (REWARD_EPOCHS, PPO_EPOCHS), --batch-size (REWARD_BATCH_SIZE,
# PPO_BATCH_SIZE), --learning-rate (REWARD_LEARNING_RATE, PPO_LEARNING_RATE), --reward-model (REWARD_MODEL).
# A variable counts for its own step; options are passed on as they are and win, so `both` takes none.
# Without DATASET a file at rlhf/data/preferences.jsonl is taken, and without that all feedback in the database.
set -euo pipefail

usage() { sed -n '2,8s/^# \{0,1\}//p' "$0"; }

what=${1:-both}
[ "$#" = 0 ] || shift
dataset=${DATASET:-}
if [ -z "$dataset" ] && [ -f rlhf/data/preferences.jsonl ]; then dataset=rlhf/data/preferences.jsonl; fi

reward_output=${REWARD_OUTPUT:-rlhf/models/reward_model}

train_reward() {
  heed train reward \
    --base-model "${REWARD_BASE_MODEL:-bert-base-uncased}" --output "$reward_output" \
    --epochs "${REWARD_EPOCHS:-3}" --batch-size "${REWARD_BATCH_SIZE:-8}" \
    --learning-rate "${REWARD_LEARNING_RATE:-2e-5}" ${dataset:+--dataset "$dataset"} "$@"
}

train_ppo_policy() {
  local reward=${REWARD_MODEL:-}
  if [ -z "$reward" ] && [ -f "$reward_output/reward_model.json" ]; then reward=$reward_output; fi
  train_ppo \
    --base-model "${PPO_BASE_MODEL:-gpt2}" --output "${PPO_OUTPUT:-rlhf/models/ppo_model}" \
    --epochs "${PPO_EPOCHS:-1}" --batch-size "${PPO_BATCH_SIZE:-16}" \
    --learning-rate "${PPO_LEARNING_RATE:-1.4e-5}" ${reward:+--reward-model "$reward"} \
    ${dataset:+--dataset "$dataset"} "$@"
}

case "$what" in
  reward) train_reward "$@" ;;
  ppo) train_ppo_policy "$@" ;;
  both)
    [ "$#" = 0 ] || { echo "train_model.sh: both takes no options; set the variables of each step" >&2; exit 2; }
    train_reward
    train_ppo_policy
    ;;
  -h | --help) usage ;;
  *) usage >&2; exit 2 ;;
esac
