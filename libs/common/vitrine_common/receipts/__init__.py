"""Signed receipts: what was run, on what, with which result. Pure functions; no network, no database.

A receipt is an in-toto Statement (v1) in a DSSE envelope, signed with the Ed25519 key of the instance
that ran it. `statement` says what it tells, `dsse` how it is written, `verification` whether it holds,
`commitments` and `openings` what blind links show instead. Only `signatures` imports `cryptography`.
"""
