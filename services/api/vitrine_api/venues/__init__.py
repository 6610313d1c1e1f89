"""Venues: a chair collects versions until a deadline, reviewers try them on a page of their own, and say.

`hosting` the venue itself; `submitting` what authors do; `roster` who reviews; `assigning` who reviews what,
each by a link of its own; `reviewing` what they say; `probing` checks of all submissions at once; `matrix`
what the chair sees of it; `deciding` the end. Who may see whom is `vitrine_api.blindness`'s to say.
"""
