"""The fault campaign: runs that are killed, stopped, damaged or starved of disk, and end alike."""
