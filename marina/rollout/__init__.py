"""Telling whether a new version is better: split, shadow, gates, statistics, report.

Everything here is a function of what was observed. Nothing opens a socket: a live process feeds
`marina.rollout.rollout.Rollout` from the gateway's access log and does what it decides.
"""
