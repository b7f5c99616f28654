"""What samples answers: a model in our own workers, an endpoint, or vLLM.

The names of the modules do not repeat those of the packages that they wrap.
"""
