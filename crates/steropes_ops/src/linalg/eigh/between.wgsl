// The antisymmetric part of the gradient of the vectors in their own basis, divided by the distance of the values.
fn between(first: u32, i: u32, j: u32, distance: f32) -> u32 {
    let at = params.basis_shift + first;
    let share = 0.5 * (basis[at + i * N + j] - basis[at + j * N + i]) / distance;
    return select(bitcast<u32>(share), 0x7fc00000u, distance == 0.0);
}
