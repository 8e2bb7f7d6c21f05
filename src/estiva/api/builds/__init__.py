"""POST /build: docker's classic builder, and BuildKit's by the same route; what builds keep."""
