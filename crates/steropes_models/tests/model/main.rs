//! The models from outside: stored outputs, both orders of a pair, damaged files; engines.

mod bad_files;
mod batches;
mod dune;
mod embedded;
mod engine;
mod files;
mod quantized;
mod retrieval;
mod torch_files;
