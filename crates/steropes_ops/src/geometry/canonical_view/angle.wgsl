// Arc tangent and tangent from polynomials, within 4 ulp, because Vulkan allows its own an error of 4096 ulp.

// `x` as it is, also under fast mathematics, which may else reorder the sum that it is a part of. `zero` is 0 and not known
// to the compiler.
fn fixed(x: f32, zero: u32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) ^ zero);
}

// atan(y / x) for a positive x, from [0, tan(pi / 8)].
fn arc_tangent(y: f32, x: f32) -> f32 {
    let size = abs(y);
    var base = 0.0;
    var t = vec2<f32>(size, x);
    if (size > 2.4142136 * x) {
        base = 1.5707964;
        t = vec2<f32>(-x, size);
    } else if (size > 0.41421357 * x) {
        base = 0.78539819;
        t = vec2<f32>(size - x, size + x);
    }
    let slope = t.x / t.y;
    let s = slope * slope;
    var p = -0.0602607094;
    p = p * s + 0.105697379;
    p = p * s - 0.142395198;
    p = p * s + 0.199981824;
    p = p * s - 0.333333075;
    let angle = base + (slope + slope * s * p);
    return select(angle, -angle, y < 0.0);
}

// tan(angle) up to pi / 2, from [0, pi / 4].
fn tangent(angle: f32, zero: u32) -> f32 {
    let size = abs(angle);
    let steep = size > 0.78539819;
    // pi / 2 is the sum of two numbers.
    let t = select(size, fixed(1.5707964 - size, zero) - 4.3711388e-8, steep);
    let s = t * t;
    var p = 0.00948359538;
    p = p * s + 0.00292294798;
    p = p * s + 0.0245820265;
    p = p * s + 0.0533551387;
    p = p * s + 0.133398041;
    p = p * s + 0.33333081;
    let flat = t + t * s * p;
    let value = select(flat, 1.0 / flat, steep);
    return select(value, -value, angle < 0.0);
}
