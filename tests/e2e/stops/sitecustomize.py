"""Halts a process of a test at a place of the code that the environment names, so that it can be killed there.

STOP_AT is `module:function:before` or `module:function:after`, STOP_FILE a path. The first process to come there writes
the file and waits; one that finds the file goes on. `STOP_AFTER` calls are let through before.
"""

import functools
import importlib.abc
import importlib.machinery
import os
import sys
import time

MODULE, FUNCTION, WHEN = os.environ.get("STOP_AT", "::").split(":")
LET_THROUGH = int(os.environ.get("STOP_AFTER", "0"))


def stopping(function):
    calls = 0

    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        nonlocal calls
        calls += 1
        if WHEN == "before":
            wait(calls)
        result = function(*args, **kwargs)
        if WHEN == "after":
            wait(calls)
        return result

    return wrapped


def wait(calls):
    if calls <= LET_THROUGH or os.path.exists(os.environ["STOP_FILE"]):
        return
    with open(os.environ["STOP_FILE"], "w") as file:
        file.write(str(os.getpid()))
    time.sleep(600)


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            setattr(module, FUNCTION, stopping(getattr(module, FUNCTION)))

        spec.loader.exec_module = exec_module
        return spec


if MODULE:
    sys.meta_path.insert(0, Finder())
