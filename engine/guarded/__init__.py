"""Outgoing HTTP to addresses that people of the shop wrote down: the one way there, and it leads to no inside host."""
