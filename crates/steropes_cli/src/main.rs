//! The program `steropes`.

fn main() {}
