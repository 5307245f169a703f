"""Benchmarks of a served model: run, compare, limit, profile and sweep.

Locust lives in child processes alone (`marina.bench.agent`): importing it patches sockets and
threads of the whole process for gevent, and Marina's own shall stay as they are.
"""
