"""The demo: a year of real baskets, the last eight weeks of it replayed through the starter journeys."""
