//! Signatures by every scheme, from a real bridge: receivers verify them by what `docs/verify-signatures.md` tells their
//! authors to write, and `dev` and `listen` by themselves.

mod cases;
mod commands;
mod document;
mod languages;
