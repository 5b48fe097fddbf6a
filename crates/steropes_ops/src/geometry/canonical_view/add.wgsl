// One invocation for each pixel, which reads its point and that of its anchor and adds to its own eight words.
//
// Header: THREADS, Elem, AVERAGE_ANGLE, NO_WEIGHT (bits of the confidence with weight 0), angle.wgsl.

struct Params {
    count: u32, width: u32, subsample: u32, zero: u32, first_sum: u32, first_coordinate: u32, first_confidence: u32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> points: array<Elem>;
@group(0) @binding(1) var<storage, read> confidence: array<Elem>;
@group(0) @binding(2) var<storage, read_write> sums: array<vec4<f32>>;

fn point_at(pixel: u32) -> vec3<f32> {
    let at = params.first_coordinate + 3u * pixel;
    return vec3<f32>(f32(points[at]), f32(points[at + 1u]), f32(points[at + 2u]));
}

// By bits, because fast mathematics may take comparisons with NaN for true.
fn all_finite(v: vec3<f32>) -> bool {
    return all((bitcast<vec3<u32>>(v) & vec3<u32>(0x7f800000u)) != vec3<u32>(0x7f800000u));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * THREADS + thread;
    if (i >= params.count) {
        return;
    }
    let block = vec2<u32>(i % params.width, i / params.width) / params.subsample * params.subsample;
    let anchor = block + params.subsample / 2u;
    let p = point_at(i);
    let q = point_at(anchor.y * params.width + anchor.x);
    let c = f32(confidence[params.first_confidence + i]);
    let bits = bitcast<u32>(c);
    let weighs = bits > NO_WEIGHT && bits < 0x7f800000u;
    let at = params.first_sum + 2u * i;
    var weighted = sums[at];
    var others = sums[at + 1u];
    if (weighs && all_finite(p) && all_finite(q)) {
        // Not `c - 0.999`, which would lose digits near 1.
        let w = fixed(c - 1.0, params.zero) + 0.001;
        let z = max(q.z, 1.1920929e-7);
        let across = p.xy - q.xy;
        let r = max(sqrt(dot(across, across)), 1e-8);
        var a = p.z / z;
        if (AVERAGE_ANGLE) {
            a = arc_tangent(p.z - z, r);
        }
        weighted += vec4<f32>(w, w * p);
        others += vec4<f32>(w * w, w * a, r, 0.0);
    }
    // Flags that stay: 1 for a point that is not finite, 2 for a wrong confidence.
    let wrong = select(1u, 0u, all_finite(p)) | select(2u, 0u, weighs);
    others.w = f32(u32(others.w) | wrong);
    sums[at] = weighted;
    sums[at + 1u] = others;
}
