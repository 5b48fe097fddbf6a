//! Steps of a tape: the kernels of `steropes_ops` with their gradients.
//!
//! A step whose gradient is written in steps has gradients of gradients; the others refuse them.

mod arithmetic;
mod layers;
mod linalg;
mod losses;
#[cfg(test)]
mod tests;
