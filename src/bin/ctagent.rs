//! `ctagent`.

fn main() {}
