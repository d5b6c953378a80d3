"""The main job on real input: a shop's refunds pass through a gate. Behind the command `stacksona demo`."""
