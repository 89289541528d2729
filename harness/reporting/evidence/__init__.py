"""Evidence from a sweep's records: candidates, estimates, tasks, updates. Makes no judgement."""
