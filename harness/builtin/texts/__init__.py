"""The programs that write the built-in data: a small invented world and its texts."""
