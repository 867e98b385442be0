"""One route file per noun; each does check, write, enqueue."""
