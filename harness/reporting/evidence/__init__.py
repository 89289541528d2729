"""What the records of a sweep hold: candidates, estimates, tasks, updates. No judgement yet."""
