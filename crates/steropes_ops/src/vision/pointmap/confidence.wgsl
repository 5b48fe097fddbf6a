// Four values for each invocation.
//
// Header: Raw, raw_values, SIGMOID, CAPPED, THREADS; exponential.wgsl, confidences.wgsl.

struct Params { count: u32, raw_shift: u32, shift: u32, low: f32, range: f32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> raw: array<Raw>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<u32>>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * THREADS + thread;
    if (i < params.count) {
        let values = raw_values(raw[params.raw_shift + i]);
        y[params.shift + i] = confidences_of(values, params.low, params.range);
    }
}
