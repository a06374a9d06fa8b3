"""The real parts that tests, benchmarks and the development stack run: Synapse, PostgreSQL, a client in Node.

Everything here starts on free ports of the loopback interface, keeps its files in the folder it is given, and
dies with the process that started it. Nothing in `etb_appservice` may import it.
"""
