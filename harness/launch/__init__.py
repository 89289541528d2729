"""Where jobs run. The only place that starts processes."""
