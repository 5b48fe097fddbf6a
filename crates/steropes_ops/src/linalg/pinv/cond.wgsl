// The largest singular value over the smallest, or the inverse of that: an invocation for each matrix.
//
// Header: K, INVERSE.

struct Params { count: u32, s: u32, to: u32, infinity: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> s: array<f32>;
@group(0) @binding(1) var<storage, read_write> conditions: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let matrix = (group.x + group.y * 32768u) * 64u + thread;
    if (matrix >= params.count) { return; }
    let largest = s[params.s + matrix * K];
    let smallest = s[params.s + matrix * K + K - 1u];
    let none = bitcast<u32>(smallest) == 0u;
    var condition = select(largest, smallest, INVERSE) / select(select(smallest, largest, INVERSE), 1.0, none);
    if (none) { condition = select(bitcast<f32>(params.infinity), 0.0, INVERSE); }
    conditions[params.to + matrix] = condition;
}
