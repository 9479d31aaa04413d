"""The demo: push some thousands through a whole fleet on this machine, and account for every single one.

How it is told: `plan` says what to send, `production` sends it, `sources` collect what the simulator received and what
feedback says, `ledger` joins the three records, `table` and `progress` show it, `run` conducts.
"""
