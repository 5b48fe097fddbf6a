// Four pixels for each invocation, so that points leave as whole vectors. Behind the end the last pixel is computed again; what
// is stored of it lies in the padding of the arrays.
//
// Header: Raw (a pixel), raw_values, SIGMOID, CAPPED, LINEAR, SQUARE, THREADS; exponential.wgsl, confidences.wgsl.

struct Params { count: u32, raw_shift: u32, points_shift: u32, confidences_shift: u32, low: f32, range: f32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> raw: array<Raw>;
@group(0) @binding(1) var<storage, read_write> points: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> confidences: array<vec4<u32>>;

// The root of sums of squares, with one Newton step on what the device's own root leaves.
fn lengths(squares: vec4<f32>) -> vec4<f32> {
    let root = sqrt(squares);
    let better = fma(fma(-root, root, squares), vec4<f32>(0.5) / max(root, vec4<f32>(1e-30)), root);
    // Only in the range in which neither the squares nor the steps vanish or grow out of the numbers.
    let steps = (squares > vec4<f32>(1e-30)) & (squares < vec4<f32>(1e30));
    return select(root, better, steps);
}

fn scales(squares: vec4<f32>) -> vec4<f32> {
    if (LINEAR) {
        return vec4<f32>(1.0);
    }
    let d = lengths(squares);
    if (SQUARE) {
        return d;
    }
    return exp_minus_1(d) / max(d, vec4<f32>(1e-8));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * THREADS + thread;
    if (i * 4u >= params.count) {
        return;
    }
    // A column for each pixel, then a vector for each channel.
    var v: array<vec4<f32>, 4>;
    for (var k = 0u; k < 4u; k++) {
        v[k] = raw_values(raw[params.raw_shift + min(4u * i + k, params.count - 1u)]);
    }
    let x = vec4<f32>(v[0].x, v[1].x, v[2].x, v[3].x);
    let y = vec4<f32>(v[0].y, v[1].y, v[2].y, v[3].y);
    let z = vec4<f32>(v[0].z, v[1].z, v[2].z, v[3].z);
    let c = vec4<f32>(v[0].w, v[1].w, v[2].w, v[3].w);
    let scale = scales(x * x + y * y + z * z);
    // A coordinate that is not a number makes its point none; in the linear mode it stays alone.
    let bits = array<vec4<u32>, 3>(bitcast<vec4<u32>>(x), bitcast<vec4<u32>>(y), bitcast<vec4<u32>>(z));
    var none = vec4<u32>();
    for (var k = 0u; k < 3u; k++) {
        none = select(none, bits[k], is_nan(bits[k]));
    }
    let broken = (none != vec4<u32>()) & vec4<bool>(!LINEAR);
    let px = select(bitcast<vec4<u32>>(x * scale), none, broken | is_nan(bits[0]));
    let py = select(bitcast<vec4<u32>>(y * scale), none, broken | is_nan(bits[1]));
    let pz = select(bitcast<vec4<u32>>(z * scale), none, broken | is_nan(bits[2]));
    let vectors = array<vec4<u32>, 3>(
        vec4<u32>(px.x, py.x, pz.x, px.y),
        vec4<u32>(py.y, pz.y, px.z, py.z),
        vec4<u32>(pz.z, px.w, py.w, pz.w),
    );
    let used = min(params.count - 4u * i, 4u) * 3u;
    for (var k = 0u; k < 3u; k++) {
        if (4u * k < used) {
            points[params.points_shift + 3u * i + k] = vectors[k];
        }
    }
    confidences[params.confidences_shift + i] = confidences_of(c, params.low, params.range);
}
