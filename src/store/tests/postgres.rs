//! The same on PostgreSQL, and what only several replicas can do.
