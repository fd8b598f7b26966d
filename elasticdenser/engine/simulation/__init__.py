"""The scheduler under a virtual clock, and the traffic it is given."""
