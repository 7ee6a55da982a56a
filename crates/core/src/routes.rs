//! Routes: which workload a request is for.
