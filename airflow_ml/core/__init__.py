"""The eight stages as frozen records and pure functions: standard library only, no clock, no I/O."""
