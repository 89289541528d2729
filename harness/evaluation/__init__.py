"""What was won and what was lost: likelihood, generated answers, forgetting, benchmarks."""
