"""Rows about rollouts: turns and trajectories, what training consumed, and training rows."""
