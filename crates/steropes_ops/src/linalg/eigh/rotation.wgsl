const NOT_A_NUMBER: u32 = 0x7fc00000u;
const BITS_OF_INFINITE: u32 = 0x7f800000u;

// The power of two that brings a magnitude with these bits near 1, and its inverse.
fn scale_of(bits: u32) -> f32 {
    return bitcast<f32>((254u - clamp(bits >> 23u, 1u, 253u)) << 23u);
}

fn unscale_of(bits: u32) -> f32 {
    return bitcast<f32>(clamp(bits >> 23u, 1u, 253u) << 23u);
}

// The rotation that makes `off` zero in [[first, off], [off, second]]: its sine, the tangent of half its angle, what goes from the
// first to the second entry of the diagonal, and 1; all 0 if `off` is not above the tolerance. Matrices are scaled, so that nothing overflows
// or vanishes.
fn rotation(first: f32, second: f32, off: f32, tolerance: f32) -> vec4<f32> {
    if (!(abs(off) > tolerance)) {
        return vec4<f32>();
    }
    let distance = second - first;
    let twice = 2.0 * off;
    let magnitude = twice / (abs(distance) + sqrt(distance * distance + twice * twice));
    let tangent = select(magnitude, -magnitude, distance < 0.0);
    let cosine = 1.0 / sqrt(1.0 + tangent * tangent);
    let sine = tangent * cosine;
    return vec4<f32>(sine, sine / (1.0 + cosine), tangent * off, 1.0);
}

// Both entries after a rotation by its sine and half tangent; rounding leaves that orthogonal when the angle is small.
fn turned(x: f32, y: f32, turn: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(x - turn.x * (y + turn.y * x), y + turn.x * (x - turn.y * y));
}
