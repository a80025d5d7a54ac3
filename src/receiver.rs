//! A local webhook receiver: shows what arrives, verifies signatures, and misbehaves on request.
