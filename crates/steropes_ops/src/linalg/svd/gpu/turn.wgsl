// A turn of two columns x and y after which they are orthogonal: its sine and the tangent of half its angle, with which
// rounding changes lengths by an ulp times the angle only, however often columns are turned. The longer column comes first.
struct Turn { sine: f32, half: f32, swap: bool, turned: bool }

const EPS: f32 = 1.1920929e-7;

// From x.x, y.y and x.y of columns of `length` entries.
fn turn_of(x_x: f32, y_y: f32, x_y: f32, length: u32) -> Turn {
    let across = abs(x_y);
    let turned = across > EPS * sqrt(f32(length)) * sqrt(x_x) * sqrt(y_y);
    let cotangent = abs(x_x - y_y) / select(1.0, 2.0 * across, turned);
    let far = cotangent > 16384.0;
    let root = sqrt(1.0 + select(cotangent * cotangent, 0.0, far));
    let tangent = select(1.0 / (cotangent + root), 0.5 / max(cotangent, 1.0), far);
    let signed = select(-tangent, tangent, x_y > 0.0);
    let cosine = inverseSqrt(1.0 + signed * signed);
    let sine = select(0.0, cosine * signed, turned);
    return Turn(sine, sine / (1.0 + cosine), turned && y_y > x_x, turned);
}

// The entries of both columns after the turn.
fn turn_pair(turn: Turn, x: f32, y: f32) -> vec2<f32> {
    let long = select(x, y, turn.swap);
    let short = select(y, x, turn.swap);
    return vec2<f32>(fma(turn.sine, fma(-turn.half, long, short), long), fma(-turn.sine, fma(turn.half, short, long), short));
}

// What a matrix is multiplied with so that its largest entry, given by the bits of its magnitude, is about 2^30; 0 if that
// is NaN or an infinity.
fn scale_of(largest: u32) -> f32 {
    if (largest >= 0x7f800000u) { return 0.0; }
    return bitcast<f32>(u32(clamp(284 - i32(largest >> 23u), 1, 253)) << 23u);
}

// 1 / scale.
fn unscale_of(scale: f32) -> f32 {
    return bitcast<f32>((254u - (bitcast<u32>(scale) >> 23u)) << 23u);
}

// The square of a length that counts as 0, after scaling.
const ZERO_SQUARE: f32 = 1e-30;
