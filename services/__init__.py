"""The services of Heed; each is a folder of its own and none imports another."""
