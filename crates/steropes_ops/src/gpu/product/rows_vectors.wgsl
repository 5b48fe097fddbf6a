@group(0) @binding(0) var<storage, read> x: array<Elem4>;
fn x4(at: u32, count: u32) -> Elem4 {
    return x[at / 4u];
}
