"""What other services ask for rewards: /score and /rerank."""
