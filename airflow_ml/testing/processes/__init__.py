"""Processes that stand in for containers: started by the thousand, each ended with everything it started."""
