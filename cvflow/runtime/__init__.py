"""What surrounds the engine: this process, Ray, MLflow, DVC; the only imports of those packages."""
