# docker build -f cluster/policy.Dockerfile -t REGISTRY/more-ray-policy:0.2.0 cluster
# An image of its own: Ray's vLLM pins versions that the package does not have.
FROM rayproject/ray:2.60.0-py311
RUN pip install --no-cache-dir 'ray[llm]==2.60.0'
