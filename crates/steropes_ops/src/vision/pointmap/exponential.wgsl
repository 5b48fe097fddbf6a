// e^x and e^x - 1 within 3 ulp. Nothing depends on the order of f32 sums; not a number is told by its bits.

struct Exponential { rest: vec4<f32>, power: vec4<i32> }

// x = n ln 2 + r with |r| <= ln 2 / 2: e^r - 1, and n from -152 to 128.
fn exponential(v: vec4<f32>) -> Exponential {
    let x = clamp(v, vec4<f32>(-105.0), vec4<f32>(89.0));
    let n = round(x * 1.4426950408889634);
    let power = vec4<i32>(n);
    // The difference in units of 2^-24, in integers: compilers may merge what would come right in f32 only in two steps.
    // ln 2 is 11629079 + 63442 / 65536 of them. Without a power it is x itself.
    let taken = power * 11629079 + ((power * 63442 + vec4<i32>(32768)) >> vec4<u32>(16u));
    let left = vec4<f32>(vec4<i32>(round(x * 16777216.0)) - taken) * 5.9604644775390625e-8;
    let r = select(left, x, power == vec4<i32>(0));
    var q = fma(vec4<f32>(1.3882507e-3), r, vec4<f32>(8.36658e-3));
    q = fma(q, r, vec4<f32>(4.16672e-2));
    q = fma(q, r, vec4<f32>(1.6666543e-1));
    q = fma(q, r, vec4<f32>(0.49999997));
    return Exponential(fma(r * r, q, r), power);
}

// 2^n for n from -126 to 127.
fn power_of_two(n: vec4<i32>) -> vec4<f32> {
    return bitcast<vec4<f32>>((n + vec4<i32>(127)) << vec4<u32>(23u));
}

fn exp_accurate(x: vec4<f32>) -> vec4<f32> {
    let e = exponential(x);
    // In two halves, so that neither leaves the normal numbers where the result does not.
    let half = e.power >> vec4<u32>(1u);
    return (vec4<f32>(1.0) + e.rest) * power_of_two(half) * power_of_two(e.power - half);
}

// For x >= 0.
fn exp_minus_1(x: vec4<f32>) -> vec4<f32> {
    let e = exponential(x);
    // 2^n (1 + p) - 1 with the two large terms subtracted exactly; half of it, since 2^128 is no f32.
    let half = power_of_two(e.power - vec4<i32>(1));
    return fma(half, e.rest, half - vec4<f32>(0.5)) * 2.0;
}

fn is_nan(bits: vec4<u32>) -> vec4<bool> {
    return (bits & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
}
