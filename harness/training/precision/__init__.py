"""The precision that passes compute in, and 16-bit weights rounded by chance."""
