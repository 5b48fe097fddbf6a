// How often a matrix with a norm of these bits is halved until it is at most LARGEST; up to SQUARINGS + 1, which means too often.
fn halvings_of(bits: u32) -> u32 {
    // The exponents differ by as much or by one less.
    let exponent = bits >> 23u;
    let bound = bitcast<u32>(LARGEST) >> 23u;
    let count = max(exponent, bound) - bound + 1u;
    return select(0u, min(count, SQUARINGS + 1u), bits > bitcast<u32>(LARGEST));
}

// An entry of such a matrix, halved so often, or 0 if it is too often.
fn halved(x: f32, count: u32) -> f32 {
    let factor = bitcast<f32>((127u - min(count, SQUARINGS)) << 23u);
    return select(0.0, x * factor, count <= SQUARINGS);
}
