// Conditions from singular values: the largest over the smallest, the inverse of that, or the sum times the sum of inverses: an invocation for each
// matrix.
//
// Header: K, INVERSE, SUMS.

struct Params { count: u32, s: u32, to: u32, infinity: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> s: array<f32>;
@group(0) @binding(1) var<storage, read_write> conditions: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let matrix = (group.x + group.y * 32768u) * 64u + thread;
    if (matrix >= params.count) { return; }
    let first = params.s + matrix * K;
    let largest = s[first];
    let smallest = s[first + K - 1u];
    let none = bitcast<u32>(smallest) == 0u;
    var condition = select(largest, smallest, INVERSE) / select(select(smallest, largest, INVERSE), 1.0, none);
    if (SUMS) {
        var sums = vec2<f32>();
        for (var k = 0u; k < K; k++) {
            let value = s[first + k];
            sums += vec2<f32>(value, 1.0 / select(value, 1.0, none));
        }
        condition = sums.x * sums.y;
    }
    if (none) { condition = select(bitcast<f32>(params.infinity), 0.0, INVERSE); }
    conditions[params.to + matrix] = condition;
}
