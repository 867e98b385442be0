"""How fast rewards are served, beside infinity-emb and beside what the machine can do at all."""
