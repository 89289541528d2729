"""Rows of text from files and hubs: columns, conversations, splits, and overlap between them."""
