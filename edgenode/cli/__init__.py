"""The command line, one file per noun.

root.py finds a noun's file when it is asked for; within a file, what only one command needs is imported in that command, so that
``node run`` holds no more in memory than a node needs. What is done to a fleet is done through edgenode_sdk.
"""
