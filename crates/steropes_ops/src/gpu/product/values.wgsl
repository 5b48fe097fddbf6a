@group(0) @binding(1) var<storage, read> weight: array<Elem4>;
// Four packed weights from element `at` on, a multiple of 4.
fn weight4(at: u32) -> Elem4 {
    return weight[at / 4u];
}
