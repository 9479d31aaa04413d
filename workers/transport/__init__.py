"""The way to APNs: a port and the implementations behind it."""
