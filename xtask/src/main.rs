//! Entry points. (Being written.)
fn main() {}
