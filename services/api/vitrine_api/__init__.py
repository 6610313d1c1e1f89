"""HTTP API, accounts, access, share links, showcase pages."""
