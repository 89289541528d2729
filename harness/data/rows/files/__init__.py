"""Reading files: encodings, tables, Arrow, folders of pages."""
