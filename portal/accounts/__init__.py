"""People, organizations, projects, and who may do what.

A User holds Memberships. One without a project holds in every project of its organization; one with a project in
that project alone. roles.py says what each role may do, access.py answers for one person in one query.
"""
