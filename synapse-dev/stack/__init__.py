"""The parts of the development stack that `synapse-dev/up.py` puts together."""
