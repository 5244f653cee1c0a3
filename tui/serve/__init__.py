"""The workbench in a browser: a server of our own settings around textual-serve's protocol and its page's script.

One request handler (`server`) behind one gate (`gate`); each browser gets a process of its own (`session`) with a
driver that speaks to pipes (`driver`), and which, unless it was allowed to, can change nothing (`sealed`).
"""
