from quick_studies import migrations_read_once, no_sync

__all__ = ["migrations_read_once", "no_sync"]
