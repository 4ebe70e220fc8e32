"""Who may ask a process over HTTP, and how much: API keys with scopes, rates, and what browsers may not do."""
