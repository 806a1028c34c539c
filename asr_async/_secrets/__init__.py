"""Secrets: texts that no `repr` shows, and texts from elsewhere without the secrets in them."""
