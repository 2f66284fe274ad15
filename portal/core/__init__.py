"""What every app may lean on. Knows no app.

money, units, periods: values with their rules. identifiers: public codes. sealing: secrets at rest. htmx: page or
fragment. templatetags: numbers and states as people read them.
"""
