"""HTTP routes: they read a request, call one use case and describe what it returned."""
